// skiff undo: a new write that makes an object, or a namespace, what it was.
#include <cstdio>

#include "diff.hpp"
#include "restore.hpp"
#include "session.hpp"

namespace skiff::cli {
namespace {

using api::Value;

constexpr const char* kManager = "skiff-undo";
constexpr int kMaxAttempts = 10;

std::string not_kept(std::int64_t revision, std::int64_t compacted) {
  return "revision " + std::to_string(revision) + " is no longer kept: the oldest that can be " +
         "restored is " + std::to_string(compacted) +
         " (skiff server --history and --history-bytes keep more)";
}

// The store's own word on what it retains; 0 when it does not say.
Task<std::int64_t> oldest_kept(Session* s) {
  const auto answer = co_await s->get("/skiff/v1/store", "application/json");
  if (!answer || answer->status != 200) co_return 0;
  const auto doc = api::parse_json(answer->body);
  co_return doc ? (*doc)["compacted"].as_int() : 0;
}

// GET with a query; null when there is none.
Task<Result<Value>> read(Session* s, std::string path) {
  SKIFF_CO_TRY(const auto answer, co_await s->get(std::move(path), "application/json"));
  if (answer.status == 404) co_return Value();
  if (answer.status >= 400) co_return client::error_from_answer(answer.status, answer.body);
  const api::ParseLimits limits{.max_bytes = SIZE_MAX, .max_depth = 1000};
  co_return api::parse_json(answer.body, limits);
}

std::string exactly(std::int64_t revision) {
  return "?resourceVersion=" + std::to_string(revision) + "&resourceVersionMatch=Exact";
}

// Whether the cluster's own components did it: what they change follows from what users change.
bool by_component(const Change& c) {
  static constexpr std::string_view kComponents[] = {
      "system:kube-", "system:node:", "system:apiserver", "system:serviceaccount:kube-system:"};
  return std::any_of(std::begin(kComponents), std::end(kComponents),
                     [&](std::string_view name) { return c.author.starts_with(name); });
}

// The change to be undone: the last that was a user's and more than noise, else the last that was
// more than noise.
const Change* change_to_undo(const History& h) {
  const Change* fallback = nullptr;
  for (auto c = h.changes.rbegin(); c != h.changes.rend(); ++c) {
    if (c->verb == "kept") continue;
    const bool noise = c->verb == "modified" && !c->previous.is_null() &&
                       same_but_noise(*c->resource, c->previous, c->object);
    if (noise) continue;
    if (!by_component(*c)) return &*c;
    if (fallback == nullptr) fallback = &*c;
  }
  return fallback;
}

Task<Result<void>> create_again(Session* s, const RestoreStep* step, client::Ref ref,
                                client::WriteOptions options) {
  client::Ref place = ref;
  place.name.clear();
  Value document = step->document;
  auto done = co_await s->client.create(place, std::move(document), options);
  const bool address = !done && done.error().code == Code::invalid &&
                       done.error().message.find("clusterIP") != std::string::npos;
  if (address) {  // somebody else has it by now: the cluster gives another
    Value other = step->document;
    other.member("spec").erase("clusterIP");
    other.member("spec").erase("clusterIPs");
    done = co_await s->client.create(place, std::move(other), options);
  }
  if (done) co_return Result<void>();
  if (done.error().code == Code::already_exists) {
    // Somebody was faster, such as a controller with a new namespace's account: as good, if it is
    // the same.
    const auto there = co_await read(s, client::path_of(ref));
    const bool same =
        there && !there->is_null() && same_but_noise(*step->resource, step->document, *there);
    if (same) co_return Result<void>();
  }
  co_return done.error();
}

// Writes over, or takes away, the object that was looked at. While only noise (a controller's
// status) comes between, it is the same object still.
Task<Result<void>> write_over(Session* s, const RestoreStep* step, client::Ref ref,
                              client::WriteOptions options) {
  const bool removes = step->type == RestoreStep::Type::remove;
  const Value seen = removes ? step->document : step->before;
  Value now = seen;
  for (int attempt = 1;; ++attempt) {
    Result<client::ObjectPtr> done = Error{};
    if (removes) {
      client::DeleteOptions gone;
      gone.propagation_policy = "Background";
      gone.uid = step->uid;
      gone.resource_version = now["metadata"]["resourceVersion"].as_string();
      gone.dry_run = options.dry_run;
      done = co_await s->client.remove(ref, gone);
    } else {
      Value document = restored(*step->resource, step->document, now);
      done = co_await s->client.update(ref, std::move(document), options);
    }
    if (done) co_return Result<void>();
    if (done.error().code != Code::conflict || attempt == kMaxAttempts) co_return done.error();
    SKIFF_CO_TRY(now, co_await read(s, client::path_of(ref)));
    const bool same = now["metadata"]["uid"] == seen["metadata"]["uid"] &&
                      same_but_noise(*step->resource, seen, now);
    if (!same) co_return done.error();
  }
}

Task<Result<void>> perform(Session* s, const RestoreStep* step) {
  client::Ref ref = s->ref_of(*step->resource, step->name);
  ref.ns = step->resource->namespaced ? step->ns : "";
  client::WriteOptions options;
  options.dry_run = s->request.all;
  options.field_manager = kManager;
  Result<void> done;
  if (step->type == RestoreStep::Type::create) {
    done = co_await create_again(s, step, ref, options);
  } else {
    done = co_await write_over(s, step, ref, options);
  }
  if (done) co_return Result<void>();
  Error e = done.error();
  if (e.code == Code::conflict || e.code == Code::already_exists) {
    e.message =
        "it was changed meanwhile and is left as it is: look at skiff history, and undo "
        "again (" +
        e.message + ")";
  }
  co_return annotate(std::move(e), display_name(*step->resource, step->name));
}

void say(const Session& s, const RestoreStep& step) {
  const char* verb = step.type == RestoreStep::Type::create   ? "created again"
                     : step.type == RestoreStep::Type::update ? "restored"
                                                              : "deleted";
  std::printf("%s %s%s\n", display_name(*step.resource, step.name).c_str(), verb,
              s.request.all ? " (dry run)" : "");
  if (step.type != RestoreStep::Type::update) return;
  const bool secret = step.resource->group.empty() && step.resource->plural == "secrets";
  const auto found = differences(without_noise(step.before), without_noise(step.document));
  std::fputs(diff_text(found, secret).c_str(), stdout);
}

Task<Result<int>> undo_one(Session* s, Named named) {
  const api::Resource& r = *named.resource;
  const std::string name = display_name(r, named.name);
  const std::string path = client::path_of(s->ref_of(r, named.name));
  SKIFF_CO_TRY(const Value now, co_await read(s, path));
  Value was;
  const std::int64_t to = s->request.to_revision;
  if (to > 0) {
    auto old = co_await read(s, path + exactly(to));
    if (!old && old.error().code == Code::expired) {
      const std::int64_t oldest = co_await oldest_kept(s);
      co_return Error{Code::bad_request, not_kept(to, oldest)};
    }
    if (!old) co_return old.error();
    if (old->is_null()) {
      co_return Error{Code::bad_request, name + " did not exist at revision " + std::to_string(to) +
                                             "; kubectl delete removes it"};
    }
    was = std::move(*old);
  } else {
    SKIFF_CO_TRY(const History h, co_await fetch_history(s, named, 0));
    const Change* c = change_to_undo(h);
    if (c == nullptr && now.is_null()) {
      co_return Error{Code::bad_request, "nothing to undo: " + name +
                                             " does not exist, nor did it "
                                             "from revision " +
                                             std::to_string(h.compacted) +
                                             " on, which is what is kept"};
    }
    if (c == nullptr) {
      co_return Error{Code::bad_request,
                      "nothing to undo: " + name + " has not changed since revision " +
                          std::to_string(h.compacted) + ", the oldest that is kept"};
    }
    if (c->verb == "created") {
      co_return Error{Code::bad_request, "nothing to undo: " + name + " was created at revision " +
                                             std::to_string(c->revision) +
                                             " and has not changed since; kubectl delete "
                                             "removes it"};
    }
    was = c->verb == "deleted" && c->previous.is_null() ? c->object : c->previous;
    if (was.is_null()) {
      co_return Error{Code::bad_request, not_kept(c->revision - 1, h.compacted)};
    }
  }
  if (!now.is_null() && same_but_noise(r, was, now)) {
    std::printf("%s unchanged: it is what it was\n", name.c_str());
    co_return 0;
  }
  if (now["metadata"].find("deletionTimestamp") != nullptr) {
    co_return Error{Code::bad_request, name + " is being deleted: undo once it is gone"};
  }
  RestoreStep step;
  step.type = now.is_null() ? RestoreStep::Type::create : RestoreStep::Type::update;
  step.resource = &r;
  step.name = named.name;
  step.ns = s->ns;
  step.document = now.is_null() ? recreated(r, was) : restored(r, was, now);
  step.before = now;
  SKIFF_CO_CHECK(co_await perform(s, &step));
  say(*s, step);
  co_return 0;
}

// Everything an undo of a namespace looks at, at one revision (0: now).
Task<Result<std::vector<Dated>>> read_namespace(Session* s, std::int64_t revision) {
  std::vector<Dated> out;
  for (const api::Resource& r : api::resources()) {
    const bool counts = r.namespaced && !r.is_volatile && r.allows(api::kList) &&
                        r.allows(api::kCreate) && r.group == r.storage_group &&
                        r.version == r.storage_version;
    if (!counts) continue;
    std::string path = client::path_of(s->ref_of(r));
    if (revision > 0) path += exactly(revision);
    SKIFF_CO_TRY(Value list, co_await read(s, std::move(path)));
    for (const Value& item : list["items"].items()) {
      Dated d{&r, item};
      d.object.set("apiVersion", list["apiVersion"]);
      d.object.set("kind", r.kind);
      out.push_back(std::move(d));
    }
  }
  co_return out;
}

// The namespace itself, should it be gone.
Task<Result<bool>> restore_namespace(Session* s, std::int64_t revision) {
  const api::Resource& r = *api::find_resource("", "v1", "namespaces");
  const std::string path = client::path_of(s->ref_of(r, s->ns));
  SKIFF_CO_TRY(const Value now, co_await read(s, path));
  if (now["metadata"].find("deletionTimestamp") != nullptr) {
    co_return Error{Code::bad_request,
                    "namespace " + s->ns + " is being deleted: undo once it is gone"};
  }
  if (!now.is_null()) co_return false;
  SKIFF_CO_TRY(const Value was, co_await read(s, path + exactly(revision)));
  if (was.is_null()) {
    co_return Error{Code::bad_request, "namespace " + s->ns +
                                           " does not exist, nor did it at "
                                           "revision " +
                                           std::to_string(revision)};
  }
  RestoreStep step;
  step.type = RestoreStep::Type::create;
  step.resource = &r;
  step.name = s->ns;
  step.document = recreated(r, was);
  SKIFF_CO_CHECK(co_await perform(s, &step));
  say(*s, step);
  co_return true;
}

Task<Result<int>> undo_namespace(Session* s) {
  const std::int64_t to = s->request.to_revision;
  if (to <= 0) {
    co_return Error{Code::bad_request,
                    "undo of a namespace needs --to-revision N; skiff history -n " + s->ns +
                        " shows the revisions"};
  }
  const auto was = co_await read_namespace(s, to);
  if (!was && was.error().code == Code::expired) {
    const std::int64_t oldest = co_await oldest_kept(s);
    co_return Error{Code::bad_request, not_kept(to, oldest)};
  }
  if (!was) co_return was.error();
  SKIFF_CO_TRY(const bool made, co_await restore_namespace(s, to));
  SKIFF_CO_TRY(const std::vector<Dated> now, co_await read_namespace(s, 0));
  const std::vector<RestoreStep> steps = plan_restore(*was, now);
  if (steps.empty() && !made) {
    std::printf("namespace %s unchanged: it is what it was\n", s->ns.c_str());
    co_return 0;
  }
  int failed = 0;
  for (const RestoreStep& step : steps) {
    // Nothing can be tried in a namespace that is only thought of.
    const bool untried = made && s->request.all;
    Result<void> done;
    if (!untried) done = co_await perform(s, &step);
    if (done) {
      say(*s, step);
      continue;
    }
    ++failed;
    std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
  }
  std::printf("namespace %s: %zu changes%s, %d refused\n", s->ns.c_str(), steps.size() - failed,
              s->request.all ? " would be made" : " made", failed);
  co_return failed == 0 ? 0 : 1;
}

}  // namespace

Task<Result<int>> run_undo(Session* s) {
  if (s->request.to_revision < 0) {
    co_return Error{Code::bad_request,
                    "--to-revision: want a revision, such as skiff history shows"};
  }
  if (s->request.words.empty()) co_return co_await undo_namespace(s);
  SKIFF_CO_TRY(const Named named, parse_one(s->request.words, false));
  co_return co_await undo_one(s, named);
}

}  // namespace skiff::cli
