#include "fork_nodes.hpp"

namespace skiff::app {
namespace {

using api::Value;

constexpr Duration kRetry = 1s;

Value condition(std::string_view type, const std::string& now) {
  return Value::object({{"type", type}, {"status", "True"}, {"lastTransitionTime", now}});
}

Task<void> handle(Env env, client::Client* client, client::ObjectPtr pod) {
  const Value& doc = pod->root();
  if (doc["spec"]["nodeName"].as_string().empty()) co_return;
  const client::Ref ref = client::resources::kPods.at(pod->ns(), pod->name());
  if (doc["metadata"].find("deletionTimestamp") != nullptr) {
    client::DeleteOptions now;
    now.grace_period_seconds = 0;
    now.uid = doc["metadata"]["uid"].as_string();
    (void)co_await client->remove(ref, now);  // gone already is as good
    co_return;
  }
  const std::string& phase = doc["status"]["phase"].as_string();
  if (!phase.empty() && phase != "Pending") co_return;
  Value patch = running_status(doc, env.clock->wall());
  (void)co_await client->patch(ref.sub("status"), api::PatchType::merge, std::move(patch));
}

Task<Result<void>> follow(Env env, client::Client* client) {
  client::ListOptions options;
  SKIFF_CO_TRY(const client::List pods, co_await client->list(client::resources::kPods, options));
  for (const client::ObjectPtr& pod : pods.items) co_await handle(env, client, pod);
  options.resource_version = pods.resource_version;
  SKIFF_CO_TRY(const auto stream, co_await client->watch(client::resources::kPods, options));
  for (;;) {
    SKIFF_CO_TRY(const auto events, co_await stream->next());
    for (const client::WatchEvent& e : events) {
      const bool there =
          e.type == client::WatchEvent::Type::added || e.type == client::WatchEvent::Type::modified;
      if (there) co_await handle(env, client, e.object);
    }
  }
}

}  // namespace

Value running_status(const Value& pod, WallTime wall) {
  const std::string now = format_time(wall);
  Value conditions = Value::array();
  for (const std::string_view type : {"PodScheduled", "Initialized", "ContainersReady", "Ready"}) {
    conditions.push_back(condition(type, now));
  }
  Value containers = Value::array();
  for (const Value& c : pod["spec"]["containers"].items()) {
    Value running = Value::object({{"running", Value::object({{"startedAt", now}})}});
    Value one = Value::object({{"name", c["name"]}, {"image", c["image"]}, {"imageID", ""}});
    one.set("ready", true);
    one.set("started", true);
    one.set("restartCount", 0);
    one.set("state", std::move(running));
    containers.push_back(std::move(one));
  }
  Value status = Value::object({{"phase", "Running"}, {"startTime", now}});
  status.set("conditions", std::move(conditions));
  status.set("containerStatuses", std::move(containers));
  return Value::object({{"status", std::move(status)}});
}

Task<void> imitate_kubelets(Env env, client::Client* client) {
  for (;;) {
    // Whatever ended it (a watch that fell behind): from the beginning.
    (void)co_await follow(env, client);
    co_await env.clock->sleep_for(kRetry);
  }
}

}  // namespace skiff::app
