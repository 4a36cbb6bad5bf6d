#include "allocations.hpp"

#include <set>

#include "keys.hpp"
#include "strategy.hpp"

namespace skiff::registry {
namespace {

constexpr std::string_view kPrefix = "/skiff/allocations/";
constexpr Duration kFirstLook = 1min;
constexpr Duration kLook = 1h;
// A write that takes longer than this between key and Service, clocks that differ included, does
// not happen: requests end after a minute.
constexpr Duration kOld = 15min;

store::Author author() {
  static const store::Author name = std::make_shared<const std::string>("system:apiserver");
  return name;
}

store::Op put(const Core& core, const std::string& name, const std::string& owner) {
  const Value value = Value::object({{"owner", owner}, {"time", core.now()}});
  store::Op op;
  op.key = std::string(kPrefix) + name;
  op.value = api::to_json(value);
  op.expect = 0;
  op.author = author();
  return op;
}

store::Op erase(std::string_view key, std::optional<Revision> expect) {
  store::Op op;
  op.type = store::Op::Type::erase;
  op.key = key;
  op.expect = expect;
  op.author = author();
  return op;
}

void forget_all(Core& core) {
  auto fresh = ServiceAllocator::make(*core.env.random, core.options.service_cidr,
                                      core.options.node_port_min, core.options.node_port_max);
  if (fresh) core.services = std::move(*fresh);
  for (const ItemPtr& item : core.all("", "services", "")) {
    services::adopt(core, object_of(item)->root());
  }
}

}  // namespace

Task<Result<void>> take_allocations(Core* core, std::vector<std::string> taken, std::string owner) {
  std::vector<store::Op> ops;
  for (const std::string& name : taken) ops.push_back(put(*core, name, owner));
  const auto verdicts = co_await core->store.commit(std::move(ops));
  std::vector<std::string> got;
  Result<void> result;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    if (verdicts[i]) {
      got.push_back(std::move(taken[i]));
    } else {
      result = verdicts[i].error();
    }
  }
  if (!result && !got.empty()) co_await drop_allocations(core, std::move(got));
  co_return result;
}

void note_taken(Core& core, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!core.store.get(std::string(kPrefix) + name)) continue;
    const std::size_t slash = name.find('/');
    const std::string what = name.substr(slash + 1);
    if (name.starts_with("port/")) {
      (void)core.services.claim_port(std::atoi(what.c_str()));
    } else {
      (void)core.services.claim_ip(what);
    }
  }
}

Task<void> drop_allocations(Core* core, std::vector<std::string> names) {
  std::vector<store::Op> ops;
  for (const std::string& name : names) {
    ops.push_back(erase(std::string(kPrefix) + name, std::nullopt));
  }
  // What cannot be given back now is found by the repair.
  if (!ops.empty()) co_await core->store.commit(std::move(ops));
}

Task<void> adopt_allocations(Core* core) {
  std::vector<store::Op> ops;
  for (const ItemPtr& item : core->all("", "services", "")) {
    const std::string owner(keys::tail(item->key));
    for (const std::string& name : services::allocations(object_of(item)->root())) {
      if (core->store.get(std::string(kPrefix) + name)) continue;
      ops.push_back(put(*core, name, owner));
    }
  }
  if (!ops.empty()) co_await core->store.commit(std::move(ops));
}

Task<void> follow_services(Core* core) {
  for (;;) {
    store::WatchOptions options;
    options.range = store::Range::prefix(keys::of("", "services", "", ""));
    auto watch = core->store.watch(std::move(options));
    if (!watch) co_return;
    forget_all(*core);
    for (;;) {
      const auto events = co_await (*watch)->next();
      if (!events && events.error().code == Code::expired) break;
      if (!events) co_return;  // the store was closed
      for (const store::Event& e : *events) {
        if (e.previous) services::disown(*core, object_of(e.previous)->root());
        if (e.type == store::Event::Type::put) services::adopt(*core, object_of(e.item)->root());
      }
    }
  }
}

Task<void> repair_allocations(Core* core) {
  co_await core->env.clock->sleep_for(kFirstLook);
  for (;;) {
    std::set<std::string> used;
    for (const ItemPtr& item : core->all("", "services", "")) {
      for (std::string& name : services::allocations(object_of(item)->root())) {
        used.insert(std::move(name));
      }
    }
    std::vector<store::Op> ops;
    const auto page = core->store.range(store::Range::prefix(kPrefix));
    const WallTime now = core->env.clock->wall();
    for (const ItemPtr& item : page ? page->items : std::vector<ItemPtr>()) {
      if (used.contains(item->key.substr(kPrefix.size()))) continue;
      const auto document = api::parse_json(item->value);
      const auto since = parse_time(document ? (*document)["time"].as_string() : "");
      if (!since || now - *since > kOld) ops.push_back(erase(item->key, item->modified));
    }
    if (!ops.empty()) {
      log::info("registry", "service addresses nobody uses are free again",
                {{"count", ops.size()}});
      co_await core->store.commit(std::move(ops));
    }
    co_await core->env.clock->sleep_for(kLook);
  }
}

}  // namespace skiff::registry
