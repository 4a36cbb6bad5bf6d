#include "queue.hpp"

namespace skiff::scheduler {
namespace {

constexpr Duration kFirstBackoff = 1s;
constexpr Duration kMaxBackoff = 10s;

bool same_for_scheduling(const PodInfo& a, const PodInfo& b) {
  return a.object->root()["spec"] == b.object->root()["spec"] && a.labels == b.labels &&
         a.object->annotations() == b.object->annotations() && a.deleting == b.deleting;
}

}  // namespace

Queue::Queue(Env env) : env_(env), changed_(env.executor) {}

void Queue::leave(Entry& e) {
  if (e.place == Place::active) active_.erase(active_key(e));
  if (e.place == Place::backoff) backoff_.erase({e.ready_at, e.pod->uid});
}

void Queue::activate(Entry& e) {
  leave(e);
  e.place = Place::active;
  active_.insert(active_key(e));
  changed_.notify_all();
}

void Queue::back_off(Entry& e) {
  leave(e);
  if (e.ready_at <= env_.clock->now()) {
    e.place = Place::active;
    activate(e);
    return;
  }
  e.place = Place::backoff;
  backoff_.insert({e.ready_at, e.pod->uid});
  changed_.notify_all();
}

void Queue::set(PodInfoPtr pod) {
  const auto it = entries_.find(pod->uid);
  if (it == entries_.end()) {
    if (pod->gated) return;
    Entry& e = entries_[pod->uid];
    e.pod = std::move(pod);
    e.arrival = arrivals_++;
    activate(e);
    return;
  }
  Entry& e = it->second;
  const bool same = same_for_scheduling(*e.pod, *pod);
  if (e.place == Place::active) active_.erase(active_key(e));
  e.pod = std::move(pod);
  if (e.place == Place::active) {
    active_.insert(active_key(e));
  } else if (!same && e.place == Place::unschedulable) {
    back_off(e);
  } else if (!same) {
    e.woken = true;
  }
}

void Queue::remove(const std::string& uid) {
  const auto it = entries_.find(uid);
  if (it == entries_.end()) return;
  leave(it->second);
  entries_.erase(it);
}

std::vector<PodInfoPtr> Queue::pop(std::size_t limit) {
  promote_due();
  std::vector<PodInfoPtr> out;
  while (out.size() < limit && !active_.empty()) {
    Entry& e = entries_.at(std::get<2>(*active_.begin()));
    active_.erase(active_.begin());
    e.place = Place::in_flight;
    e.woken = false;
    out.push_back(e.pod);
  }
  return out;
}

void Queue::done(const std::string& uid) {
  const auto it = entries_.find(uid);
  if (it != entries_.end() && it->second.place == Place::in_flight) entries_.erase(it);
}

void Queue::failed(const std::string& uid, bool retry) {
  const auto it = entries_.find(uid);
  if (it == entries_.end() || it->second.place != Place::in_flight) return;
  Entry& e = it->second;
  const int doublings = std::min(e.attempts++, 4);
  e.ready_at = env_.clock->now() + std::min(kFirstBackoff * (1 << doublings), kMaxBackoff);
  if (retry || e.woken) {
    back_off(e);
  } else {
    e.place = Place::unschedulable;
  }
}

void Queue::wake_all() {
  wake_if([](const PodInfo&) { return true; });
}

void Queue::wake_if(const std::function<bool(const PodInfo&)>& may_fit) {
  for (auto& [uid, e] : entries_) {
    if (!may_fit(*e.pod)) continue;
    if (e.place == Place::unschedulable) {
      back_off(e);
    } else if (e.place == Place::in_flight) {
      e.woken = true;
    }
  }
}

void Queue::promote_due() {
  const TimePoint now = env_.clock->now();
  while (!backoff_.empty() && backoff_.begin()->first <= now) {
    activate(entries_.at(backoff_.begin()->second));
  }
}

Task<void> Queue::wait() {
  for (;;) {
    promote_due();
    if (!active_.empty()) co_return;
    if (backoff_.empty()) {
      co_await changed_.wait();
    } else {
      const TimePoint due = backoff_.begin()->first;
      co_await race(changed_.wait(), env_.clock->sleep_until(due));
    }
  }
}

}  // namespace skiff::scheduler
