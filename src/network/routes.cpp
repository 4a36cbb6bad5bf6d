#include "skiff/network/routes.hpp"

#include "route_plan.hpp"
#include "skiff/base/log.hpp"

namespace skiff::network {
namespace {

using api::ObjectPtr;

constexpr Duration kGather = 50ms;  // changes of routes come in flocks
constexpr Duration kRetry = 5s;

// What a former look and this one have to say differ only in what matters here.
bool concerns_routes(const ObjectPtr& before, const ObjectPtr& now) {
  if (!before || !now) return true;
  return before->uid() != now->uid() ||
         (*before)["spec"]["podCIDRs"] != (*now)["spec"]["podCIDRs"] ||
         (*before)["status"]["addresses"] != (*now)["status"]["addresses"];
}

Result<RouteWork> bring_about(const std::vector<Peer>& peers, const std::string& bridge) {
  SKIFF_TRY(auto route, netlink::Route::open());
  Surroundings now;
  SKIFF_TRY(now.links, route.links());
  SKIFF_TRY(now.addresses, route.addresses());
  SKIFF_TRY(now.routes, route.routes());
  const RouteWork work = plan_routes(peers, now, bridge);
  for (const netlink::RouteEntry& r : work.remove) {
    const Result<void> gone = route.delete_route(r);
    // A link takes its routes along.
    if (!gone && gone.error().code != Code::not_found) return gone.error();
  }
  for (const netlink::RouteEntry& r : work.add) SKIFF_CHECK(route.add_route(r));
  return work;
}

}  // namespace

struct Routes::State {
  State(Env e, client::InformerFactory& informers, RouteOptions o)
      : env(e),
        options(std::move(o)),
        nodes(informers.get(client::resources::kNodes)),
        moved(env.executor) {}

  void change() {
    changed = true;
    moved.notify_all();
  }

  Task<void> listen() {
    auto notices = netlink::RouteNotices::open(env.executor);
    if (!notices) {
      log::warn("network", "changes of this machine's routes go unnoticed",
                {{"error", notices.error()}});
      co_return;
    }
    for (;;) {
      co_await (*notices)->next();
      change();
      co_await env.clock->sleep_for(kGather);
    }
  }

  Task<void> follow() {
    co_await nodes.wait_synced();
    for (;;) {
      changed = false;
      const bool done = co_await look();
      if (!done) {
        co_await env.clock->sleep_for(kRetry);
        continue;
      }
      while (!changed) co_await moved.wait();
    }
  }

  Task<bool> look() {
    std::vector<ObjectPtr> all;
    for (const auto& [key, node] : nodes.all()) all.push_back(node);
    auto work = [peers = peers_of(all, options), bridge = options.bridge] {
      return bring_about(peers, bridge);
    };
    const Result<RouteWork> done = co_await env.blocking->run(std::move(work));
    if (!done) {
      const std::string& message = done.error().message;
      if (message != trouble) {
        log::warn("network", "pods of other nodes may be out of reach", {{"error", done.error()}});
      }
      trouble = message;
      co_return false;
    }
    trouble.clear();
    tell(*done);
    co_return true;
  }

  void tell(const RouteWork& work) {
    for (const auto& r : work.remove) {
      log::info("network", "route removed", {{"to", r.destination->to_string()}});
    }
    for (const auto& r : work.add) {
      log::info("network", "route to a node's pods",
                {{"to", r.destination->to_string()}, {"via", r.gateway->to_string()}});
    }
    if (work.far == far) return;
    far = work.far;
    for (const std::string& name : far) {
      log::warn("network", "a node is on no link of this machine: its pods are out of reach",
                {{"node", name}});
    }
  }

  Env env;
  RouteOptions options;
  client::Informer& nodes;
  Signal moved;
  bool changed = true;
  std::string trouble;
  std::vector<std::string> far;
};

Routes::Routes(Env env, client::InformerFactory& informers, RouteOptions options)
    : state_(std::make_unique<State>(env, informers, std::move(options))) {
  State* state = state_.get();
  state->nodes.add_handler([state](const ObjectPtr& before, const ObjectPtr& now) {
    if (concerns_routes(before, now)) state->change();
  });
}

Routes::~Routes() = default;

void Routes::start(TaskGroup& group) {
  group.spawn("routes", state_->follow());
  group.spawn("changes of routes", state_->listen());
}

}  // namespace skiff::network
