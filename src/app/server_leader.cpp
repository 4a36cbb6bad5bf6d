#include "server_leader.hpp"

namespace skiff::app {

struct Leader::Parts {
  Parts(Env env, registry::Registry& registry)
      : controller_client(registry, "system:kube-controller-manager"),
        scheduler_client(registry, "system:kube-scheduler"),
        informers(env, controller_client) {}

  registry::DirectClient controller_client;
  registry::DirectClient scheduler_client;
  client::InformerFactory informers;
  std::unique_ptr<controllers::Controllers> controllers;
  std::unique_ptr<scheduler::Scheduler> scheduler;
};

Leader::Leader(Env env, registry::Registry& registry, const ServerOptions& options,
               std::string ca_pem, etcd::Election* election)
    : env_(env),
      registry_(registry),
      cluster_cidr_(options.cluster_cidr),
      run_controllers_(!options.disabled("controllers")),
      run_scheduler_(!options.disabled("scheduler")),
      fork_(options.fork),
      ca_pem_(std::move(ca_pem)),
      election_(election),
      leading_(env.executor),
      following_(env.executor) {}

Leader::~Leader() = default;

void Leader::start() { following_.spawn("leader", follow()); }

Task<void> Leader::wait_to_lead() {
  constexpr Duration kRetry = 30s;
  store::Store& store = registry_.store();
  if (!election_) {
    while (store.decider() != store::Decider::here) co_await store.decider_changed();
    co_return;
  }
  for (;;) {
    const Result<void> elected = co_await election_->campaign();
    if (elected) co_return;
    log::error("app", "controllers and scheduler cannot run: no election is possible",
               {{"error", elected.error()}});
    co_await env_.clock->sleep_for(kRetry);
  }
}

Task<void> Leader::wait_to_lose() {
  if (election_) {
    co_await election_->lost();
    co_return;
  }
  store::Store& store = registry_.store();
  while (store.decider() == store::Decider::here) co_await store.decider_changed();
}

void Leader::start_parts() {
  parts_ = std::make_unique<Parts>(env_, registry_);
  if (run_controllers_) {
    controllers::Options o;
    o.ca_pem = ca_pem_;
    o.cluster_cidr = cluster_cidr_;
    // A copy's nodes answer to nobody; that must not cost it its pods.
    if (fork_) o.disabled = {"nodelifecycle", "taint-eviction"};
    parts_->controllers = std::make_unique<controllers::Controllers>(
        env_, parts_->controller_client, parts_->informers, std::move(o));
  }
  if (run_scheduler_) {
    parts_->scheduler = std::make_unique<scheduler::Scheduler>(
        env_, parts_->scheduler_client, parts_->informers, scheduler::Options{});
  }
  parts_->informers.start(leading_);
  if (parts_->controllers) parts_->controllers->start(leading_);
  if (parts_->scheduler) parts_->scheduler->start(leading_);
}

Task<void> Leader::follow() {
  while (!stopping_) {
    co_await wait_to_lead();
    start_parts();
    co_await wait_to_lose();
    log::info("app", "this server no longer leads: its controllers stop");
    co_await resign();
    // Joining a group makes the task deaf to cancellation, for good: what comes next must hear it.
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
  }
}

Task<void> Leader::resign() {
  leading_.cancel();
  co_await leading_.join();
  parts_.reset();
}

Task<void> Leader::stop() {
  stopping_ = true;
  following_.cancel();
  co_await following_.join();
  co_await resign();
}

}  // namespace skiff::app
