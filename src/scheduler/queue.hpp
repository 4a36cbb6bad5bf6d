// Pods that wait for a node: active ones by priority and arrival, those that failed for a while,
// and those that nothing but a change in the cluster can help.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "pod_info.hpp"
#include "skiff/base/env.hpp"

namespace skiff::scheduler {

class Queue {
 public:
  explicit Queue(Env env);

  // A new or changed pending pod. One that was found unschedulable becomes active again only if its
  // spec, labels or annotations changed: its own status updates must not wake it.
  void set(PodInfoPtr pod);
  void remove(const std::string& uid);

  // Up to `limit` active pods in order; they are in flight until done(), failed() or remove().
  std::vector<PodInfoPtr> pop(std::size_t limit);
  void done(const std::string& uid);
  // Did not fit, or could not be bound. Waits for wake_all(), and for its back-off (1 s doubling to
  // 10 s). `retry`: the fault was passing, so the back-off alone is enough.
  void failed(const std::string& uid, bool retry);

  // The cluster changed in a way that may let waiting pods fit: all, or those `may_fit` picks.
  void wake_all();
  void wake_if(const std::function<bool(const PodInfo&)>& may_fit);

  // Waits until pop() has something. Ends only by cancellation.
  Task<void> wait();

  std::size_t waiting() const noexcept { return entries_.size(); }
  bool holds(const std::string& uid) const { return entries_.contains(uid); }

 private:
  enum class Place : std::uint8_t { active, backoff, unschedulable, in_flight };
  struct Entry {
    PodInfoPtr pod;
    Place place = Place::active;
    int attempts = 0;
    TimePoint ready_at{};
    std::uint64_t arrival = 0;
    // The cluster changed while the pod was in flight: a failure then proves nothing.
    bool woken = false;
  };
  using ActiveKey =
      std::tuple<std::int64_t, std::uint64_t, std::string>;  // -priority, arrival, uid
  ActiveKey active_key(const Entry& e) const { return {-e.pod->priority, e.arrival, e.pod->uid}; }
  void leave(Entry& e);
  void activate(Entry& e);
  void back_off(Entry& e);
  void promote_due();

  Env env_;
  std::unordered_map<std::string, Entry> entries_;  // by uid
  std::set<ActiveKey> active_;
  std::set<std::pair<TimePoint, std::string>> backoff_;
  std::uint64_t arrivals_ = 0;
  Signal changed_;
};

}  // namespace skiff::scheduler
