#include "skiff/proxy/proxy.hpp"

#include <fmt/format.h>

#include <set>

#include "skiff/base/log.hpp"
#include "skiff/linux/nftables.hpp"
#include "table.hpp"

namespace skiff::proxy {

using api::NamespacedName;
using client::ObjectPtr;

namespace {

constexpr const char* kServiceLabel = "kubernetes.io/service-name";
constexpr const char* kIndex = "proxy/service";
constexpr Duration kFirstRetry = 1s, kLastRetry = 1min;

NamespacedName service_of(const api::Object& slice) {
  return {slice.ns(), slice.labels()[kServiceLabel].as_string()};
}

// The netlink sockets, opened when first needed; used by one blocking call at a time.
struct Kernel {
  std::unique_ptr<netlink::Socket> netfilter;
  std::optional<netlink::Conntrack> conntrack;

  Result<std::size_t> apply(nft::Batch batch) {
    if (!netfilter) {
      SKIFF_TRY(netfilter, netlink::open_socket(netlink::Protocol::netfilter));
    }
    std::size_t bytes = 0;
    auto result = nft::commit(*netfilter, std::move(batch), &bytes);
    if (!result) {
      netfilter.reset();
      return result.error();
    }
    return bytes;
  }

  Result<std::size_t> forget_flows(const std::vector<UdpFronts>& fronts) {
    if (!conntrack) {
      SKIFF_TRY(conntrack, netlink::Conntrack::open());
    }
    return delete_stale(*conntrack, fronts);
  }
};

}  // namespace

struct Proxy::State {
  State(Env e, client::InformerFactory& factory, Options options)
      : env(e),
        services(factory.get(client::resources::kServices)),
        slices(factory.get(client::resources::kEndpointSlices)),
        table(std::move(options)),
        changed(e.executor),
        idle(e.executor) {}

  Env env;
  client::Informer& services;
  client::Informer& slices;
  Table table;
  std::shared_ptr<Kernel> kernel = std::make_shared<Kernel>();
  std::set<NamespacedName> dirty;
  bool rebuild = true;
  bool working = true;
  Signal changed, idle;
  Statistics statistics;
  std::string trouble;
  metrics::Histogram* seconds = nullptr;
  metrics::Counter* failures = nullptr;

  void mark(const NamespacedName& service) {
    if (service.name.empty()) return;
    dirty.insert(service);
    changed.notify_all();
  }

  void take_in() {
    for (const auto& key : std::exchange(dirty, {})) {
      const ObjectPtr service = services.get(key);
      std::vector<const api::Value*> documents;
      const auto held = slices.by_index(kIndex, key.to_string());
      for (const auto& slice : held) documents.push_back(&slice->root());
      table.update(key, service ? &service->root() : nullptr, documents);
    }
  }

  void watch(metrics::Registry* registry) {
    slices.add_index(kIndex, [](const api::Object& o) {
      return std::vector<std::string>{service_of(o).to_string()};
    });
    services.add_handler([this](const ObjectPtr& before, const ObjectPtr& now) {
      mark((now ? now : before)->key());
    });
    slices.add_handler([this](const ObjectPtr& before, const ObjectPtr& now) {
      if (before) mark(service_of(*before));
      if (now) mark(service_of(*now));
    });
    if (registry == nullptr) return;
    seconds = &registry->histogram("kubeproxy_sync_proxy_rules_duration_seconds",
                                   "SyncProxyRules latency in seconds",
                                   {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256,
                                    0.512, 1.024, 2.048, 4.096, 8.192, 16.384});
    failures = &registry->counter("kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                                  "Cumulative proxy nftables sync failures");
  }

  Task<void> run();
  Task<bool> sync();
  Task<bool> apply(nft::Batch batch, bool whole);
  Task<void> forget_flows(std::vector<UdpFronts> fronts);
};

// One transaction for everything dirty; false when the kernel refused it.
Task<bool> Proxy::State::sync() {
  take_in();
  const bool whole = std::exchange(rebuild, false);
  nft::Batch batch(nft::Family::ipv4, table.options().table);
  if (whole) write_skeleton(batch, table.options());
  const Changes changes = whole ? table.take_everything() : table.take_changes();
  changes.write(batch);
  auto udp = table.take_udp();
  statistics.service_ports = table.service_ports();
  statistics.endpoints = table.endpoints();
  if (!batch.empty()) {
    const auto begun = env.clock->now();
    const bool done = co_await apply(std::move(batch), whole);
    if (seconds != nullptr) {
      seconds->observe(std::chrono::duration<double>(env.clock->now() - begun).count());
    }
    if (!done) co_return false;
  }
  if (!udp.empty()) co_await forget_flows(std::move(udp));
  co_return true;
}

Task<bool> Proxy::State::apply(nft::Batch batch, bool whole) {
  const std::size_t operations = batch.operations();
  const bool localnet = whole && table.options().localhost_node_ports;
  auto work = [kernel = kernel, batch = std::move(batch), localnet]() mutable {
    auto done = kernel->apply(std::move(batch));
    if (done && localnet) {
      // The table guards 127.0.0.0/8 from here on.
      auto set = netlink::write_sysctl("net/ipv4/conf/all/route_localnet", "1");
      if (!set)
        log::warn("proxy", "node ports will not answer on 127.0.0.1", {{"error", set.error()}});
    }
    return done;
  };
  auto done = co_await env.blocking->run(std::move(work));
  if (done) {
    ++statistics.transactions;
    if (whole) ++statistics.rebuilds;
    statistics.last_bytes = *done;
    statistics.last_operations = operations;
    if (!trouble.empty()) log::info("proxy", "services are in the kernel again");
    trouble.clear();
    co_return true;
  }
  ++statistics.failures;
  if (failures != nullptr) failures->add();
  // Somebody else emptied the table: a rebuild follows at once, and mends it.
  const auto level = whole ? log::Level::error : log::Level::warn;
  if (trouble != done.error().message && log::enabled(level)) {
    log::write(level, "proxy", "could not change the service table", {{"error", done.error()}});
  }
  trouble = done.error().message;
  rebuild = true;
  co_return false;
}

Task<void> Proxy::State::forget_flows(std::vector<UdpFronts> fronts) {
  auto work = [kernel = kernel, fronts = std::move(fronts)] {
    return kernel->forget_flows(fronts);
  };
  auto done = co_await env.blocking->run(std::move(work));
  // A kernel without ctnetlink: such flows end by their own timeout.
  if (!done) log::debug("proxy", "could not delete stale UDP flows", {{"error", done.error()}});
}

Task<void> Proxy::State::run() {
  co_await services.wait_synced();
  co_await slices.wait_synced();
  for (const auto& [key, object] : services.all()) dirty.insert(key);
  Duration retry = kFirstRetry;
  bool first_failure = true;
  for (;;) {
    if (dirty.empty() && !rebuild) {
      working = false;
      idle.notify_all();
      co_await changed.wait();
      working = true;
    }
    co_await yield();  // the rest of this turn's events belong to the same transaction
    if (co_await sync()) {
      retry = kFirstRetry;
      first_failure = true;
      continue;
    }
    // A refused change means the table is not what it was thought to be (somebody flushed it):
    // rebuilding helps at once. Only when that is refused too, wait.
    if (std::exchange(first_failure, false)) continue;
    working = false;
    idle.notify_all();
    co_await env.clock->sleep_for(retry);
    working = true;
    retry = std::min(retry * 2, kLastRetry);
  }
}

Proxy::Proxy(Env env, client::InformerFactory& informers, Options options)
    : state_(std::make_unique<State>(env, informers, std::move(options))) {
  state_->watch(env.metrics);
}

Proxy::~Proxy() = default;

void Proxy::start(TaskGroup& group) { group.spawn("proxy", state_->run()); }

Task<void> Proxy::wait_idle() {
  co_await yield();
  while (state_->working || !state_->dirty.empty()) co_await state_->idle.wait();
}

const Statistics& Proxy::statistics() const noexcept { return state_->statistics; }
const std::string& Proxy::trouble() const noexcept { return state_->trouble; }

Result<void> check() {
  SKIFF_TRY(auto socket, netlink::open_socket(netlink::Protocol::netfilter));
  return nft::probe(*socket);
}

}  // namespace skiff::proxy
