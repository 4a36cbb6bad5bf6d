#include "skiff/network/network.hpp"

#include <fmt/format.h>

#include <optional>

#include "addresses.hpp"
#include "plumbing.hpp"
#include "skiff/base/log.hpp"

namespace skiff::network {

struct Network::State {
  State(Env e, Options o) : env(e), options(std::move(o)), started(env.executor) {}

  Env env;
  Options options;
  Signal started;
  std::optional<AddressPool> pool;
  Bridge bridge;
  // A pod is entered before its pair is made: whatever interrupts that, its address stays its own
  // until it is detached.
  std::map<std::string, PodAddress> pods;
  std::set<std::string> busy;

  PodAddress describe(const Owner& owner) const {
    return {owner.address, pool->gateway(), host_interface(owner.pod_id)};
  }

  Plug plug_for(const std::string& pod_id, const PodAddress& address, std::string netns) const {
    return {{address.address, pod_id}, address.gateway, address.host_interface,
            std::move(netns),          bridge.index,    bridge.mtu};
  }

  void forget(const std::string& pod_id) {
    const auto it = pods.find(pod_id);
    if (it == pods.end()) return;
    pool->give_back(it->second.address);
    pods.erase(it);
  }
};

namespace {

constexpr Duration kPatience = 10s;

// Two operations on one pod at once would fight over one link.
class Busy {
 public:
  Busy(std::set<std::string>& set, const std::string& id)
      : set_(set), entry_(set.insert(id)), id_(id) {}
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    if (entry_.second) set_.erase(id_);
  }
  bool ours() const { return entry_.second; }

 private:
  std::set<std::string>& set_;
  std::pair<std::set<std::string>::iterator, bool> entry_;
  std::string id_;
};

Error busy_error(const std::string& pod_id) {
  return {Code::conflict,
          fmt::format("another network operation on pod {} is under way; try again", pod_id)};
}

}  // namespace

Network::Network(Env env, Options options)
    : state_(std::make_shared<State>(env, std::move(options))) {}

Network::~Network() = default;

IpAddress Network::gateway() const { return state_->pool ? state_->pool->gateway() : IpAddress{}; }

bool Network::ready() const noexcept { return state_->pool.has_value(); }

Task<Result<void>> Network::wait_ready() {
  const auto state = state_;
  while (!state->pool) co_await state->started.wait();
  co_return Result<void>{};
}

Task<Result<void>> Network::start(Prefix pod_cidr) {
  const auto state = state_;
  auto pool = AddressPool::create(pod_cidr);
  if (!pool) co_return pool.error();
  const auto options = state->options;
  const auto gateway = pool->gateway();
  auto work = [options, pod_cidr, gateway] { return set_up(options, pod_cidr, gateway); };
  auto bridge = co_await state->env.blocking->run(std::move(work));
  if (!bridge) co_return annotate(bridge.error(), "pod network");
  state->pool = std::move(*pool);
  state->bridge = std::move(*bridge);
  for (const auto& [id, held] : state->pods) state->pool->take(held.address);
  for (const auto& owner : state->bridge.pods) {
    if (state->pods.contains(owner.pod_id)) continue;
    if (!state->pool->take(owner.address)) {
      log::error("network", "two pods hold one address",
                 {{"address", owner.address.to_string()}, {"pod", owner.pod_id}});
    }
    state->pods.emplace(owner.pod_id, state->describe(owner));
  }
  log::info("network", "pod network ready",
            {{"bridge", state->options.bridge},
             {"podCIDR", pod_cidr.to_string()},
             {"pods", state->pods.size()}});
  state->started.notify_all();
  co_return Result<void>{};
}

std::vector<Attachment> Network::attachments() const {
  std::vector<Attachment> all;
  for (const auto& [id, address] : state_->pods) all.push_back({id, address});
  return all;
}

Task<Result<std::vector<Attachment>>> Network::recover(std::set<std::string> live) {
  const auto state = state_;
  std::vector<std::string> dead;
  for (const auto& [id, address] : state->pods) {
    if (!live.contains(id)) dead.push_back(id);
  }
  for (const auto& id : dead) {
    auto gone = co_await detach(id);
    if (!gone) co_return gone.error();
  }
  co_return attachments();
}

Task<Result<PodAddress>> Network::attach(std::string pod_id, std::string netns_path) {
  const auto state = state_;
  if (!state->pool) {
    const Result<void> ready =
        co_await with_timeout(*state->env.clock, kPatience, "pod network", wait_ready());
    if (!ready) {
      co_return Error{Code::unavailable,
                      "the pod network is not ready: this node has no range of addresses yet"};
    }
  }
  const Busy busy(state->busy, pod_id);
  if (!busy.ours()) co_return busy_error(pod_id);

  const auto known = state->pods.find(pod_id);
  if (known != state->pods.end()) {
    const PodAddress address = known->second;
    const Plug p = state->plug_for(pod_id, address, netns_path);
    auto look = [p] { return plugged(p); };
    if (co_await state->env.blocking->run(std::move(look))) co_return address;
    // Half-made, or the pair of a namespace that is gone.
    auto remove = [p] { return unplug(p.host_interface); };
    auto removed = co_await state->env.blocking->run(std::move(remove));
    if (!removed) co_return removed.error();
  } else {
    auto taken = state->pool->take();
    if (!taken) co_return taken.error();
    state->pods.emplace(pod_id, state->describe({*taken, pod_id}));
  }

  const PodAddress address = state->pods.at(pod_id);
  const Plug p = state->plug_for(pod_id, address, std::move(netns_path));
  auto connect = [p] { return plug(p); };
  auto result = co_await state->env.blocking->run(std::move(connect));
  if (!result) {
    state->forget(pod_id);
    co_return annotate(result.error(), "attaching pod " + pod_id);
  }
  co_return address;
}

Task<Result<void>> Network::detach(std::string pod_id) {
  const auto state = state_;
  const Busy busy(state->busy, pod_id);
  if (!busy.ours()) co_return busy_error(pod_id);
  if (!state->pods.contains(pod_id)) co_return Result<void>{};
  const std::string name = host_interface(pod_id);
  auto remove = [name] { return unplug(name); };
  auto removed = co_await state->env.blocking->run(std::move(remove));
  if (!removed) co_return annotate(removed.error(), "detaching pod " + pod_id);
  state->forget(pod_id);
  co_return Result<void>{};
}

}  // namespace skiff::network
