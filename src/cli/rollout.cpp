// scale and rollout.
#include <cstdio>

#include "session.hpp"

namespace skiff::cli {
namespace {

using api::ObjectPtr;
using api::Value;
using client::resources::kReplicaSets;

constexpr const char* kRevision = "deployment.kubernetes.io/revision";
constexpr const char* kChangeCause = "kubernetes.io/change-cause";

Error bad(std::string message) { return {Code::bad_request, std::move(message)}; }

Result<Named> one_deployment(const std::vector<std::string>& words) {
  SKIFF_TRY(const auto names, parse_names(words));
  if (names.size() != 1 || names[0].name.empty()) return bad("required resource not specified");
  if (names[0].resource->plural != "deployments") {
    return bad("this rollout works on deployments; use kubectl for " +
               std::string(names[0].resource->plural));
  }
  return names[0];
}

// Where a rollout stands, as kubectl words it; done once finished.
struct Progress {
  std::string text;
  bool done = false;
};

Result<Progress> progress_of(const api::Object& d) {
  const Value& spec = d["spec"];
  const Value& status = d["status"];
  const std::string& name = d.name();
  if (status["observedGeneration"].as_int() < d.generation()) {
    return Progress{"Waiting for deployment spec update to be observed...", false};
  }
  for (const Value& c : status["conditions"].items()) {
    if (c["type"].as_string() == "Progressing" &&
        c["reason"].as_string() == "ProgressDeadlineExceeded") {
      return bad("deployment \"" + name + "\" exceeded its progress deadline");
    }
  }
  const std::string waiting = "Waiting for deployment \"" + name + "\" rollout to finish: ";
  const std::int64_t wanted = spec["replicas"].as_int(1);
  const std::int64_t updated = status["updatedReplicas"].as_int();
  const std::int64_t all = status["replicas"].as_int();
  const std::int64_t available = status["availableReplicas"].as_int();
  if (updated < wanted) {
    return Progress{waiting + std::to_string(updated) + " out of " + std::to_string(wanted) +
                        " new replicas have been updated...",
                    false};
  }
  if (all > updated) {
    return Progress{
        waiting + std::to_string(all - updated) + " old replicas are pending termination...",
        false};
  }
  if (available < updated) {
    return Progress{waiting + std::to_string(available) + " of " + std::to_string(updated) +
                        " updated replicas are available...",
                    false};
  }
  return Progress{"deployment \"" + name + "\" successfully rolled out", true};
}

Task<Result<int>> status(Session* s, Named named) {
  const client::Ref ref = s->ref_of(*named.resource, named.name);
  SKIFF_CO_TRY(const Duration limit, parse_duration(s->request.timeout));
  const TimePoint end = limit > Duration(0) ? s->env.clock->now() + limit : TimePoint::max();
  std::string said;
  for (;;) {
    SKIFF_CO_TRY(const ObjectPtr object, co_await s->client.get(ref));
    SKIFF_CO_TRY(const Progress progress, progress_of(*object));
    if (progress.text != said) std::printf("%s\n", progress.text.c_str());
    said = progress.text;
    std::fflush(stdout);
    if (progress.done) co_return 0;
    if (s->env.clock->now() >= end) co_return bad("timed out waiting for the condition");
    co_await s->env.clock->sleep_for(200ms);
  }
}

Task<Result<std::vector<ObjectPtr>>> replica_sets(Session* s, ObjectPtr deployment) {
  SKIFF_CO_TRY(const auto list, co_await s->client.list(kReplicaSets.in(s->ns), {}));
  std::vector<ObjectPtr> out;
  for (const ObjectPtr& rs : list.items) {
    const Value* owner = api::controller_of(rs->root());
    if (owner != nullptr && (*owner)["uid"].as_string() == deployment->uid()) out.push_back(rs);
  }
  std::sort(out.begin(), out.end(), [](const ObjectPtr& a, const ObjectPtr& b) {
    return std::atoll(a->annotations()[kRevision].as_string().c_str()) <
           std::atoll(b->annotations()[kRevision].as_string().c_str());
  });
  co_return out;
}

Task<Result<int>> history(Session* s, Named named) {
  SKIFF_CO_TRY(const ObjectPtr d, co_await s->client.get(s->ref_of(*named.resource, named.name)));
  SKIFF_CO_TRY(const auto sets, co_await replica_sets(s, d));
  std::printf("%s \nREVISION  CHANGE-CAUSE\n", display_name(*named.resource, named.name).c_str());
  for (const ObjectPtr& rs : sets) {
    std::printf("%-9s %s\n", rs->annotations()[kRevision].as_string().c_str(),
                std::string(rs->annotations()[kChangeCause].as_string_or("<none>")).c_str());
  }
  co_return 0;
}

Task<Result<int>> undo(Session* s, Named named) {
  const client::Ref ref = s->ref_of(*named.resource, named.name);
  SKIFF_CO_TRY(const ObjectPtr d, co_await s->client.get(ref));
  SKIFF_CO_TRY(const auto sets, co_await replica_sets(s, d));
  const std::int64_t want = s->request.to_revision;
  ObjectPtr target;
  if (want == 0 && sets.size() >= 2) target = sets[sets.size() - 2];
  for (const ObjectPtr& rs : sets) {
    if (want != 0 && rs->annotations()[kRevision].as_string() == std::to_string(want)) target = rs;
  }
  if (!target) {
    co_return bad(want == 0 ? "no rollout history found for deployment \"" + named.name + "\""
                            : "unable to find specified revision " + std::to_string(want) +
                                  " in history");
  }
  Value pod_template = (*target)["spec"]["template"];
  if (Value* labels = pod_template.member("metadata").find("labels")) {
    labels->erase("pod-template-hash");
  }
  Value operation = Value::object();
  operation.set("op", "replace");
  operation.set("path", "/spec/template");
  operation.set("value", std::move(pod_template));
  Value operations = Value::array();
  operations.push_back(std::move(operation));
  SKIFF_CO_CHECK(co_await s->client.patch(ref, api::PatchType::json, std::move(operations)));
  std::printf("%s rolled back\n", display_name(*named.resource, named.name).c_str());
  co_return 0;
}

// restart, pause, resume: one merge patch each.
Task<Result<int>> nudge(Session* s, Named named, std::string what) {
  Value patch = Value::object();
  if (what == "restart") {
    patch.member("spec")
        .member("template")
        .member("metadata")
        .member("annotations")
        .set("kubectl.kubernetes.io/restartedAt", format_time(s->env.clock->wall()));
  } else {
    patch.member("spec").set("paused", what == "pause" ? Value(true) : Value());
  }
  const client::Ref ref = s->ref_of(*named.resource, named.name);
  SKIFF_CO_CHECK(co_await s->client.patch(ref, api::PatchType::merge, std::move(patch)));
  const char* done = what == "restart" ? "restarted" : what == "pause" ? "paused" : "resumed";
  std::printf("%s %s\n", display_name(*named.resource, named.name).c_str(), done);
  co_return 0;
}

}  // namespace

Task<Result<int>> run_rollout(Session* s) {
  std::vector<std::string> words = s->request.words;
  if (words.empty()) co_return bad("want rollout history|pause|restart|resume|status|undo");
  const std::string what = words.front();
  words.erase(words.begin());
  SKIFF_CO_TRY(Named named, one_deployment(words));
  if (what == "status") co_return co_await status(s, named);
  if (what == "history") co_return co_await history(s, named);
  if (what == "undo") co_return co_await undo(s, named);
  if (what == "restart" || what == "pause" || what == "resume") {
    co_return co_await nudge(s, named, what);
  }
  co_return bad("unknown rollout command \"" + what +
                "\": want history, pause, restart, resume, status or undo");
}

Task<Result<int>> run_scale(Session* s) {
  if (s->request.replicas < 0) {
    co_return bad(
        "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0");
  }
  SKIFF_CO_TRY(const auto names, parse_names(s->request.words));
  for (const Named& n : names) {
    if (n.name.empty()) co_return bad("resource(s) were provided, but no name was specified");
    Value patch = Value::object();
    patch.member("spec").set("replicas", s->request.replicas);
    const client::Ref ref = s->ref_of(*n.resource, n.name).sub("scale");
    SKIFF_CO_CHECK(co_await s->client.patch(ref, api::PatchType::merge, std::move(patch)));
    std::printf("%s scaled\n", display_name(*n.resource, n.name).c_str());
  }
  co_return 0;
}

}  // namespace skiff::cli
