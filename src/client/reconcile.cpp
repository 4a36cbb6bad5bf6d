#include "skiff/client/reconcile.hpp"

#include <set>

#include "skiff/client/reflector.hpp"

namespace skiff::client {
namespace {

// A cache that cannot show a write (its watch is filtered) must not block its key for ever: the
// next progress of that cache after this time lets the key go. Upstream's expectations time out
// likewise, after five minutes.
constexpr Duration kLongestWait = 30s;

struct Loop {
  Loop(Env e, Reconciler& r, InformerFactory& f)
      : env(e), reconciler(&r), informers(&f), queue(e, std::string(r.name())) {}

  struct Parked {
    Outcome writes;
    TimePoint until;
    bool wanted = false;  // came up again while its writes were not visible
  };

  Env env;
  Reconciler* reconciler;
  InformerFactory* informers;
  WorkQueue queue;
  std::map<api::NamespacedName, Parked> parked;
  std::size_t wanted = 0;  // parked keys with `wanted` set
  std::set<const Informer*> listening;

  // Caches tell their progress to every loop that ever waited for them.
  void listen(const Outcome& outcome, const std::shared_ptr<Loop>& self) {
    outcome.for_each_cache([&](const Informer& cache) {
      if (!listening.insert(&cache).second) return;
      const_cast<Informer&>(cache).on_progress([weak = std::weak_ptr<Loop>(self)] {
        if (const auto loop = weak.lock()) loop->progressed();
      });
    });
  }

  void progressed() {
    if (wanted == 0) return;
    for (auto it = parked.begin(); it != parked.end();) {
      const auto here = it++;
      if (!here->second.wanted || !released(*here)) continue;
      queue.add(here->first);
      unpark(here);
    }
  }

  void unpark(std::map<api::NamespacedName, Parked>::iterator it) {
    if (it->second.wanted) --wanted;
    parked.erase(it);
  }

  // Whether `key` must wait for the caches to show its last writes.
  bool must_wait(const api::NamespacedName& key) {
    const auto it = parked.find(key);
    if (it == parked.end()) return false;
    if (released(*it)) {
      unpark(it);
      return false;
    }
    if (!std::exchange(it->second.wanted, true)) ++wanted;
    return true;
  }

  bool released(const std::pair<const api::NamespacedName, Parked>& entry) const {
    if (entry.second.writes.settled()) return true;
    if (env.clock->now() < entry.second.until) return false;
    log::warn("client", "cache never showed a write",
              {{"reconciler", reconciler->name()}, {"key", entry.first.to_string()}});
    return true;
  }

  void failed(const api::NamespacedName& key, const Error& error) {
    // Lost races: the caches will show what happened.
    const bool routine = error.code == Code::conflict || error.code == Code::not_found;
    const auto level = routine ? log::Level::debug : log::Level::warn;
    if (log::enabled(level)) {
      log::write(level, "client", "reconcile failed, trying again",
                 {{"reconciler", reconciler->name()}, {"key", key.to_string()}, {"why", error}});
    }
    queue.add_rate_limited(key);
  }

  void finish(const api::NamespacedName& key, Result<Outcome> result,
              const std::shared_ptr<Loop>& self) {
    if (!result) return failed(key, result.error());
    if (result->retry) {
      failed(key, *result->retry);
    } else {
      queue.forget(key);
      if (result->again_after) queue.add_after(key, *result->again_after);
    }
    if (result->empty() || result->settled()) return;
    listen(*result, self);
    parked.insert_or_assign(key, Parked{std::move(*result), env.clock->now() + kLongestWait});
  }
};

Task<void> worker(std::shared_ptr<Loop> loop) {
  co_await loop->informers->wait_synced();
  for (;;) {
    std::optional<api::NamespacedName> key = co_await loop->queue.get();
    if (!key) co_return;
    if (!loop->must_wait(*key)) {
      Result<Outcome> result = co_await loop->reconciler->reconcile(*key);
      loop->finish(*key, std::move(result), loop);
    }
    loop->queue.done(*key);
  }
}

}  // namespace

std::int64_t revision_of(const api::Object& object) {
  return parse_revision(object.resource_version());
}

void Outcome::wrote(const Informer& cache, const api::Object& written) {
  writes_.push_back({&cache, revision_of(written), {}, {}});
}

void Outcome::removed(const Informer& cache, const api::Object& removed) {
  writes_.push_back({&cache, 0, removed.key(), removed.uid()});
}

bool Outcome::settled() const {
  return std::ranges::all_of(writes_, [](const Written& w) {
    if (w.revision != 0) return w.cache->reached(w.revision);
    const ObjectPtr shown = w.cache->get(w.key);
    return !shown || shown->uid() != w.uid || shown->deleting();
  });
}

void Outcome::for_each_cache(const std::function<void(const Informer&)>& visit) const {
  for (const Written& w : writes_) visit(*w.cache);
}

void run_reconciler(Env env, TaskGroup& group, Reconciler& reconciler, InformerFactory& informers,
                    LoopOptions options) {
  const auto loop = std::make_shared<Loop>(env, reconciler, informers);
  informers.keep(loop);  // the handlers hold the queue
  reconciler.watch(loop->queue);
  for (std::size_t i = 0; i < options.workers; ++i) {
    group.spawn(std::string(reconciler.name()), worker(loop));
  }
}

}  // namespace skiff::client
