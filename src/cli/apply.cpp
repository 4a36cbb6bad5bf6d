// apply and delete.
#include <cstdio>

#include "session.hpp"
#include "skiff/api/patch.hpp"

namespace skiff::cli {
namespace {

using api::ObjectPtr;
using api::Value;

constexpr const char* kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

// The object with what was applied noted on it: what a later apply compares with.
Value annotated(const Value& object) {
  Value plain = object;
  Value& metadata = plain.member("metadata");
  if (Value* annotations = metadata.find("annotations")) annotations->erase(kLastApplied);
  Value noted = plain;
  noted.member("metadata").member("annotations").set(kLastApplied, api::to_json(plain) + "\n");
  return noted;
}

client::Ref ref_for(const Session& s, const api::Resource& r, const Value& object) {
  client::Ref ref = s.ref_of(r, object["metadata"]["name"].as_string());
  const std::string& ns = object["metadata"]["namespace"].as_string();
  if (r.namespaced) ref.ns = ns.empty() ? s.ns : ns;
  return ref;
}

Task<Result<std::string>> apply_one(Session* s, Value object) {
  const api::Resource& r = *resource_of(object);
  if (r.namespaced && object["metadata"]["namespace"].as_string().empty()) {
    object.member("metadata").set("namespace", s->ns);
  }
  const client::Ref ref = ref_for(*s, r, object);
  client::WriteOptions options;
  options.dry_run = s->request.dry_run == "server";
  options.field_manager = "kubectl-client-side-apply";
  const Value wanted = annotated(object);
  Result<ObjectPtr> live = co_await s->client.get(ref);
  if (!live) {
    if (live.error().code != Code::not_found) co_return live.error();
    client::Ref collection = ref;
    collection.name.clear();
    SKIFF_CO_CHECK(co_await s->client.create(collection, wanted, options));
    co_return std::string("created");
  }
  const std::string& before = (*live)->annotations()[kLastApplied].as_string();
  Value original = Value::object();
  if (!before.empty()) {
    SKIFF_CO_TRY(original, api::parse_json(before));
    original = annotated(original);
  }
  SKIFF_CO_TRY(Value patch, api::strategic_three_way(*r.type, original, wanted, (*live)->root()));
  if (patch.empty()) co_return std::string("unchanged");
  SKIFF_CO_TRY(const ObjectPtr now,
               co_await s->client.patch(ref, api::PatchType::strategic, std::move(patch), options));
  const bool same = now->resource_version() == (*live)->resource_version();
  co_return std::string(same ? "unchanged" : "configured");
}

const char* dry_run_suffix(const Request& r) {
  return r.dry_run == "server" ? " (server dry run)" : "";
}

Task<Result<void>> wait_gone(Session* s, client::Ref ref, std::string uid) {
  for (;;) {
    const Result<ObjectPtr> now = co_await s->client.get(ref);
    if (!now) {
      if (now.error().code == Code::not_found) co_return Result<void>();
      co_return now.error();
    }
    if ((*now)->uid() != uid) co_return Result<void>();
    co_await s->env.clock->sleep_for(100ms);
  }
}

Task<Result<void>> delete_one(Session* s, const api::Resource* r, client::Ref ref) {
  client::DeleteOptions options;
  if (s->request.grace_period >= 0) options.grace_period_seconds = s->request.grace_period;
  if (s->request.force) options.grace_period_seconds = 0;
  options.propagation_policy = "Background";
  options.dry_run = s->request.dry_run == "server";
  SKIFF_CO_TRY(const ObjectPtr gone, co_await s->client.remove(ref, options));
  std::printf("%s \"%s\" deleted%s%s\n",
              display_name(*r, "").substr(0, display_name(*r, "").size() - 1).c_str(),
              ref.name.c_str(), r->namespaced ? (" from " + ref.ns + " namespace").c_str() : "",
              dry_run_suffix(s->request));
  std::fflush(stdout);
  if (!s->request.wait || options.dry_run || s->request.force) co_return Result<void>();
  const std::string uid = gone->uid();
  co_return co_await wait_gone(s, ref, uid);
}

}  // namespace

Task<Result<int>> run_apply(Session* s) {
  if (s->request.files.empty()) co_return Error{Code::bad_request, "must specify one of -f and -k"};
  SKIFF_CO_TRY(std::vector<Value> objects, read_manifests(s->request.files, s->request.recursive));
  int exit_code = 0;
  for (Value& object : objects) {
    const std::string shown =
        display_name(*resource_of(object), object["metadata"]["name"].as_string());
    const Result<std::string> done = co_await apply_one(s, std::move(object));
    if (done) {
      std::printf("%s %s%s\n", shown.c_str(), done->c_str(), dry_run_suffix(s->request));
    } else {
      std::fprintf(stderr, "Error from server: %s\n", done.error().message.c_str());
      exit_code = 1;
    }
  }
  co_return exit_code;
}

Task<Result<int>> run_delete(Session* s) {
  std::vector<std::pair<const api::Resource*, client::Ref>> targets;
  if (!s->request.files.empty()) {
    SKIFF_CO_TRY(const auto objects, read_manifests(s->request.files, s->request.recursive));
    for (const Value& object : objects) {
      const api::Resource* r = resource_of(object);
      targets.emplace_back(r, ref_for(*s, *r, object));
    }
  } else {
    SKIFF_CO_TRY(const auto names, parse_names(s->request.words));
    if (names.empty()) {
      co_return Error{Code::bad_request,
                      "You must provide one or more resources by argument or filename."};
    }
    for (const Named& n : names) {
      if (!n.name.empty()) {
        targets.emplace_back(n.resource, s->ref_of(*n.resource, n.name));
        continue;
      }
      if (!s->request.all && s->request.selector.empty()) {
        co_return Error{Code::bad_request, "resource(s) were provided, but no name was specified"};
      }
      client::ListOptions options;
      options.label_selector = s->request.selector;
      SKIFF_CO_TRY(const auto list, co_await s->client.list(s->ref_of(*n.resource), options));
      for (const ObjectPtr& object : list.items) {
        client::Ref ref = s->ref_of(*n.resource, object->name());
        ref.ns = object->ns();
        targets.emplace_back(n.resource, std::move(ref));
      }
    }
  }
  int exit_code = 0;
  for (const auto& [resource, ref] : targets) {
    const Result<void> done = co_await delete_one(s, resource, ref);
    if (done || (s->request.ignore_not_found && done.error().code == Code::not_found)) continue;
    std::fprintf(stderr, "Error from server: %s\n", done.error().message.c_str());
    exit_code = 1;
  }
  if (targets.empty()) std::printf("No resources found\n");
  co_return exit_code;
}

}  // namespace skiff::cli
