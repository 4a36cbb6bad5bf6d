#include "skiff/client/informer.hpp"

#include <set>
#include <unordered_map>

#include "skiff/client/reflector.hpp"
#include "wait.hpp"

namespace skiff::client {
namespace {

using Objects = std::map<api::NamespacedName, ObjectPtr>;
using Entry = Objects::value_type;

// Index members are the cache's own map nodes: no copies of keys, and an order that does not
// depend on addresses, so that replays are exact.
struct ByKey {
  bool operator()(const Entry* a, const Entry* b) const { return a->first < b->first; }
};

struct Index {
  std::string name;
  Informer::IndexFunction function;
  std::unordered_map<std::string, std::set<const Entry*, ByKey>> members;

  void insert(const Entry* entry, const std::vector<std::string>& keys) {
    for (const std::string& key : keys) members[key].insert(entry);
  }
  void erase(const Entry* entry, const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      const auto it = members.find(key);
      if (it == members.end()) continue;
      it->second.erase(entry);
      if (it->second.empty()) members.erase(it);
    }
  }
};

}  // namespace

struct Informer::State final : WatchSink {
  State(Env e, Client& c, Ref r, ListOptions o)
      : env(e), client(&c), ref(std::move(r)), options(std::move(o)), first_sync(e.executor) {}

  Env env;
  Client* client;
  Ref ref;
  ListOptions options;
  Objects objects;
  Objects listing;  // a list under way
  std::vector<Index> indexes;
  std::deque<Handler> handlers;  // a deque: a handler may add handlers while it runs
  std::deque<std::function<void()>> progress;
  std::int64_t seen = -1;  // nothing yet
  bool started = false;
  Changes first_sync;

  void tell(const ObjectPtr& previous, const ObjectPtr& current) {
    for (std::size_t i = 0; i < handlers.size(); ++i) handlers[i](previous, current);
  }

  void tell_progress() {
    for (std::size_t i = 0; i < progress.size(); ++i) progress[i]();
  }

  void put(const api::NamespacedName& key, ObjectPtr object) {
    const auto [it, added] = objects.try_emplace(key);
    const ObjectPtr previous = std::exchange(it->second, object);
    for (Index& index : indexes) {
      const auto now = index.function(*object);
      if (added) {
        index.insert(&*it, now);
      } else if (const auto before = index.function(*previous); before != now) {
        index.erase(&*it, before);
        index.insert(&*it, now);
      }
    }
    tell(previous, object);
  }

  void drop(const api::NamespacedName& key) {
    const auto it = objects.find(key);
    if (it == objects.end()) return;
    const ObjectPtr previous = it->second;
    for (Index& index : indexes) index.erase(&*it, index.function(*previous));
    objects.erase(it);
    tell(previous, nullptr);
  }

  // A handler must never see an object turn into another of the same name.
  void put_or_replace(const api::NamespacedName& key, const ObjectPtr& object) {
    const auto it = objects.find(key);
    if (it != objects.end() && it->second->uid() != object->uid()) drop(key);
    put(key, object);
  }

  void list_begin() override { listing.clear(); }
  void list_page(std::vector<ObjectPtr> page) override {
    for (ObjectPtr& object : page) {
      api::NamespacedName key = object->key();
      listing.insert_or_assign(std::move(key), std::move(object));
    }
  }
  void list_end(std::int64_t revision) override {
    const Objects fresh = std::exchange(listing, {});
    std::vector<api::NamespacedName> gone;
    for (const auto& [key, object] : objects) {
      if (!fresh.contains(key)) gone.push_back(key);
    }
    for (const auto& key : gone) drop(key);
    for (const auto& [key, object] : fresh) {
      const auto it = objects.find(key);
      const bool same = it != objects.end() && it->second->uid() == object->uid() &&
                        it->second->resource_version() == object->resource_version();
      if (!same) put_or_replace(key, object);
    }
    const bool first = seen < 0;
    seen = revision;
    if (first) first_sync.notify();
    tell_progress();
  }
  void changes(std::span<const WatchEvent> events) override {
    for (const WatchEvent& event : events) {
      if (event.type == WatchEvent::Type::deleted) {
        drop(event.object->key());
      } else {
        put_or_replace(event.object->key(), event.object);
      }
    }
  }
  void reached(std::int64_t revision) override {
    seen = std::max(seen, revision);
    tell_progress();
  }
};

Informer::Informer(Env env, Client& client, Ref ref, ListOptions options)
    : state_(std::make_unique<State>(env, client, std::move(ref), std::move(options))) {}
Informer::~Informer() = default;

void Informer::add_index(std::string name, IndexFunction function) {
  for (const Index& index : state_->indexes) {
    if (index.name == name) return;  // components that share an informer share its indexes
  }
  SKIFF_ASSERT(!state_->started, "an index was added to a running informer");
  state_->indexes.push_back({std::move(name), std::move(function), {}});
}

void Informer::add_handler(Handler handler) {
  state_->handlers.push_back(std::move(handler));
  if (!synced()) return;
  const Handler added = state_->handlers.back();
  const Objects present = state_->objects;  // a handler may make the cache change
  for (const auto& [key, object] : present) added(nullptr, object);
}

void Informer::on_progress(std::function<void()> callback) {
  state_->progress.push_back(std::move(callback));
}

void Informer::start(TaskGroup& group) {
  if (std::exchange(state_->started, true)) return;
  group.spawn("informer " + state_->ref.resource,
              reflect(state_->env, state_->client, state_->ref, state_->options, state_.get()));
}

bool Informer::synced() const noexcept { return state_->seen >= 0; }

Task<void> Informer::wait_synced() {
  while (!synced()) co_await state_->first_sync.wait(state_->first_sync.count());
}

bool Informer::reached(std::int64_t revision) const noexcept { return state_->seen >= revision; }

const Ref& Informer::ref() const noexcept { return state_->ref; }

ObjectPtr Informer::get(const api::NamespacedName& key) const {
  const auto it = state_->objects.find(key);
  return it == state_->objects.end() ? nullptr : it->second;
}

const std::map<api::NamespacedName, ObjectPtr>& Informer::all() const noexcept {
  return state_->objects;
}

std::vector<ObjectPtr> Informer::in_namespace(const std::string& ns) const {
  std::vector<ObjectPtr> out;
  auto it = state_->objects.lower_bound(api::NamespacedName{ns, ""});
  for (; it != state_->objects.end() && it->first.ns == ns; ++it) out.push_back(it->second);
  return out;
}

std::vector<ObjectPtr> Informer::by_index(const std::string& name, const std::string& key) const {
  std::vector<ObjectPtr> out;
  for (const Index& index : state_->indexes) {
    if (index.name != name) continue;
    const auto it = index.members.find(key);
    if (it == index.members.end()) return out;
    out.reserve(it->second.size());
    for (const Entry* entry : it->second) out.push_back(entry->second);
    return out;
  }
  SKIFF_ASSERT(false, "by_index was asked for an index that was never added");
  return out;
}

Informer& InformerFactory::get(const Ref& ref, ListOptions options) {
  const std::string key = ref.group + "/" + ref.version + "/" + ref.resource + "/" + ref.ns + "?" +
                          options.label_selector + "&" + options.field_selector;
  auto& informer = informers_[key];
  if (!informer) {
    informer = std::make_unique<Informer>(env_, client_, ref, std::move(options));
    not_started_.push_back(informer.get());
  }
  return *informer;
}

void InformerFactory::start(TaskGroup& group) {
  for (Informer* informer : std::exchange(not_started_, {})) informer->start(group);
}

Task<void> InformerFactory::wait_synced() {
  std::vector<Informer*> all;
  for (const auto& [key, informer] : informers_) all.push_back(informer.get());
  for (Informer* informer : all) co_await informer->wait_synced();
}

}  // namespace skiff::client
