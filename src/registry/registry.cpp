#include "skiff/registry/registry.hpp"

#include "allocations.hpp"
#include "bootstrap.hpp"
#include "errors.hpp"
#include "read.hpp"
#include "skiff/registry/scan.hpp"
#include "write.hpp"

namespace skiff::registry {

struct Registry::State {
  Env env;
  store::Store& store;
  Options options;
  std::unique_ptr<Core> core;  // from start() on, once the service ranges proved good
};

Registry::Registry(Env env, store::Store& store, Options options)
    : state_(std::make_unique<State>(State{env, store, std::move(options), nullptr})) {}

Registry::~Registry() = default;

namespace {

void adopt_services(Core& core) {
  for (const ItemPtr& item : core.all("", "services", "")) {
    services::adopt(core, object_of(item)->root());
  }
}

// Events that were there before carry their age in themselves. Those younger than
// `at_least` are left alone.
void adopt_events(Core& core, Duration at_least = Duration::zero()) {
  const WallTime now = core.env.clock->wall();
  for (const ItemPtr& item : core.all("", "events", "")) {
    std::optional<WallTime> last;
    for (const auto& path :
         {std::initializer_list<std::string_view>{"metadata", "creationTimestamp"},
          std::initializer_list<std::string_view>{"eventTime"},
          std::initializer_list<std::string_view>{"lastTimestamp"},
          std::initializer_list<std::string_view>{"series", "lastObservedTime"}}) {
      const auto at = parse_time(scan::text(scan::find(item->value, path)));
      if (at && (!last || *at > *last)) last = *at;
    }
    const Duration age = last ? Duration(now - *last) : Duration::zero();
    if (age < at_least) continue;
    core.expiry.note(
        *item, std::clamp(core.options.event_ttl - age, Duration::zero(), core.options.event_ttl));
  }
}

// As soon as there is somebody who decides.
Task<void> write_bootstrap_later(Core* core) {
  constexpr Duration kRetry = 1s;
  for (;;) {
    while (core->store.decider() == store::Decider::nobody) {
      co_await core->store.decider_changed();
    }
    const Result<void> written = co_await write_bootstrap(core);
    if (written) break;
    log::warn("registry", "not all first objects are there", {{"error", written.error()}});
    co_await core->env.clock->sleep_for(kRetry);
  }
  co_await adopt_allocations(core);
}

// Events that other servers wrote are noted by nobody who is left; whoever comes to decide does.
Task<void> adopt_events_of_others(Core* core) {
  for (;;) {
    while (core->store.decider() != store::Decider::here) {
      co_await core->store.decider_changed();
    }
    adopt_events(*core);
    while (core->store.decider() == store::Decider::here) {
      co_await core->store.decider_changed();
    }
  }
}

// Who wrote an Event removes it, unless that server is gone by then. What is overdue any server
// removes: over an external datastore nobody ever comes to decide.
Task<void> adopt_overdue_events(Core* core) {
  constexpr Duration kOverdue = 5min;
  const Duration lifetime = core->options.event_ttl;
  for (;;) {
    co_await core->env.clock->sleep_for(lifetime / 4);
    adopt_events(*core, lifetime + kOverdue);
  }
}

Task<Result<void>> begin(Core* core, TaskGroup* group) {
  if (!core->options.shared) co_return co_await write_bootstrap(core);
  group->spawn("registry: services", follow_services(core));
  group->spawn("registry: allocations", repair_allocations(core));
  group->spawn("registry: events", adopt_events_of_others(core));
  group->spawn("registry: overdue events", adopt_overdue_events(core));
  const Result<void> written = co_await write_bootstrap(core);
  if (!written && written.error().code != Code::unavailable) co_return written;
  if (written) {
    co_await adopt_allocations(core);
  } else {
    group->spawn("registry: first objects", write_bootstrap_later(core));
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> Registry::start(TaskGroup& group) {
  State& s = *state_;
  SKIFF_CO_TRY(ServiceAllocator services,
               ServiceAllocator::make(*s.env.random, s.options.service_cidr,
                                      s.options.node_port_min, s.options.node_port_max));
  s.core = std::make_unique<Core>(s.env, s.store, s.options, std::move(services));
  adopt_services(*s.core);
  adopt_events(*s.core);
  SKIFF_CO_CHECK(co_await begin(s.core.get(), &group));
  group.spawn("event expiry", s.core->expiry.run(&s.store));
  group.spawn("kubernetes service", keep_kubernetes_service(s.core.get()));
  co_return Result<void>();
}

Task<Result<Written>> Registry::create(Target target, Value object, WriteContext context) {
  Write write;
  write.type = Write::Type::create;
  write.target = std::move(target);
  write.document = std::move(object);
  return write_one(state_->core.get(), std::move(write), std::move(context));
}

Task<Result<Written>> Registry::update(Target target, Value object, WriteContext context) {
  Write write;
  write.type = Write::Type::update;
  write.target = std::move(target);
  write.document = std::move(object);
  return write_one(state_->core.get(), std::move(write), std::move(context));
}

Task<Result<Written>> Registry::patch(Target target, api::PatchType type, Value patch,
                                      WriteContext context) {
  Write write;
  write.type = Write::Type::patch;
  write.target = std::move(target);
  write.document = std::move(patch);
  write.patch_type = type;
  return write_one(state_->core.get(), std::move(write), std::move(context));
}

Task<Result<Written>> Registry::remove(Target target, DeleteOptions options, WriteContext context) {
  Write write;
  write.type = Write::Type::remove;
  write.target = std::move(target);
  write.delete_options = std::move(options);
  return write_one(state_->core.get(), std::move(write), std::move(context));
}

Task<Result<Listing>> Registry::remove_collection(Target target, ReadOptions which,
                                                  DeleteOptions options, WriteContext context) {
  return remove_matching(state_->core.get(), std::move(target), std::move(which),
                         std::move(options), std::move(context));
}

Task<std::vector<Result<Written>>> Registry::batch(std::vector<Write> writes,
                                                   WriteContext context) {
  return write_many(state_->core.get(), std::move(writes), std::move(context));
}

Result<ItemPtr> Registry::get(const Target& target, const ReadOptions& options) const {
  return read_one(*state_->core, target, options);
}

Result<Listing> Registry::list(const Target& target, const ReadOptions& options) const {
  return read_list(*state_->core, target, options);
}

Result<std::unique_ptr<Watcher>> Registry::watch(const Target& target,
                                                 const WatchOptions& options) {
  return start_watch(*state_->core, target, options);
}

Task<Result<void>> Registry::catch_up(std::string resource_version,
                                      std::vector<std::string>* warnings) {
  return registry::catch_up(state_->core.get(), std::move(resource_version), warnings);
}

Task<Result<ItemPtr>> Registry::fetch(Target target, ReadOptions options,
                                      std::vector<std::string>* warnings) {
  SKIFF_CO_CHECK(co_await catch_up(options.resource_version, warnings));
  co_return co_await read_one_at(state_->core.get(), std::move(target), std::move(options));
}

Task<Result<Listing>> Registry::fetch_list(Target target, ReadOptions options,
                                           std::vector<std::string>* warnings) {
  if (options.continue_token.empty()) {
    SKIFF_CO_CHECK(co_await catch_up(options.resource_version, warnings));
  }
  co_return co_await read_list_at(state_->core.get(), std::move(target), std::move(options));
}

Task<Result<History>> Registry::history(Target target, HistoryOptions options) {
  return read_history(state_->core.get(), std::move(target), options);
}

store::Store& Registry::store() noexcept { return state_->store; }
const Options& Registry::options() const noexcept { return state_->options; }
const Env& Registry::env() const noexcept { return state_->env; }

ObjectPtr object_of(const ItemPtr& item) {
  if (auto shared = item->decoded.lock()) {
    return std::static_pointer_cast<const api::Object>(shared);
  }
  ObjectPtr object = api::Object::wrap(item, item->value);
  item->decoded = std::static_pointer_cast<const void>(object);
  return object;
}

Error not_found_error(const api::Resource& resource, std::string_view name) {
  return errors::not_found(resource, name);
}

}  // namespace skiff::registry
