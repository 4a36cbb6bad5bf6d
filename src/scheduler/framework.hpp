// The plug-in framework (KEP-624): what a placement goes through.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot.hpp"

namespace skiff::scheduler {

// A plug-in's answer for one pod on one node.
struct Verdict {
  bool fits = true;
  // Grouped in the pod's message: "1 Insufficient cpu, 2 node(s) were unschedulable".
  std::vector<std::string> reasons;
  static Verdict yes() { return {}; }
  static Verdict no(std::string reason) { return {false, {std::move(reason)}}; }
};

inline constexpr std::int64_t kMaxNodeScore = 100;

// What a plug-in worked out once for a pod, before looking at nodes.
struct PluginState {
  virtual ~PluginState() = default;
};

// One pod's way through the plug-ins: each has a slot of its own.
class CycleState {
 public:
  explicit CycleState(std::size_t plugins) : slots_(plugins) {}
  void set(std::size_t slot, std::unique_ptr<PluginState> state) {
    slots_[slot] = std::move(state);
  }
  template <class T>
  const T* get(std::size_t slot) const {
    return static_cast<const T*>(slots_[slot].get());
  }

 private:
  std::vector<std::unique_ptr<PluginState>> slots_;
};

class Plugin {
 public:
  virtual ~Plugin() = default;
  virtual std::string_view name() const = 0;
  // Work done once a pod. `nodes` are the nodes that exist.
  virtual void prepare(CycleState&, const PodInfo&, const Snapshot&) const {}
  void set_slot(std::size_t slot) { slot_ = slot; }

 protected:
  std::size_t slot_ = 0;
};

class FilterPlugin : public virtual Plugin {
 public:
  virtual Verdict filter(const CycleState&, const PodInfo&, const NodeInfo&) const = 0;
};

class ScorePlugin : public virtual Plugin {
 public:
  // Any scale; normalize() brings all nodes' scores to 0..100.
  virtual std::int64_t score(const CycleState&, const PodInfo&, const NodeInfo&) const = 0;
  virtual void normalize(const CycleState&, const PodInfo&, const std::vector<const NodeInfo*>&,
                         std::vector<std::int64_t>&) const {}
};

// Scales scores so that the largest becomes 100; `reverse` turns the order round.
void normalize_by_max(std::vector<std::int64_t>& scores, bool reverse);

struct Placement {
  NodeInfo* node = nullptr;  // null: does not fit
  std::string message;       // then why, as upstream words it
};

class Framework {
 public:
  Framework();  // the default plug-ins with upstream's weights
  // Picks the best node for `pod`. Ties are broken by `tie_breaker` (any number). Pure: changes
  // nothing.
  Placement place(const PodInfo& pod, const Snapshot& snapshot, std::uint64_t tie_breaker) const;

 private:
  struct Scored {
    const ScorePlugin* plugin;
    std::int64_t weight;
  };
  template <class T>
  void add(std::unique_ptr<T> plugin, std::int64_t weight);
  Verdict filter(const CycleState& state, const PodInfo& pod, const NodeInfo& node) const;
  NodeInfo* best(const CycleState& state, const PodInfo& pod, const std::vector<NodeInfo*>& nodes,
                 std::uint64_t tie_breaker) const;

  std::vector<std::unique_ptr<Plugin>> plugins_;
  std::vector<const FilterPlugin*> filters_;
  std::vector<Scored> scorers_;
};

// How many fitting nodes are enough before scoring starts (upstream's adaptive percentage).
std::size_t nodes_to_find(std::size_t all_nodes);

}  // namespace skiff::scheduler
