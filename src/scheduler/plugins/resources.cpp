// Plug-ins about CPU, memory and other countable resources.
#include <cmath>

#include "plugins.hpp"

namespace skiff::scheduler::plugins {
namespace {

// 0..100: how much of `capacity` would stay free.
std::int64_t free_share(std::int64_t used, std::int64_t capacity) {
  if (capacity <= 0 || used > capacity) return 0;
  return (capacity - used) * kMaxNodeScore / capacity;
}

double used_share(std::int64_t used, std::int64_t capacity) {
  if (capacity <= 0) return 1;
  return std::min(1.0, static_cast<double>(used) / static_cast<double>(capacity));
}

}  // namespace

Verdict NodeResourcesFit::filter(const CycleState&, const PodInfo& pod,
                                 const NodeInfo& node) const {
  Verdict verdict;
  const auto refuse = [&](std::string reason) {
    verdict.fits = false;
    verdict.reasons.push_back(std::move(reason));
  };
  const Resources& want = pod.requests;
  const Resources& have = node.allocatable;
  const Resources& used = node.requested;
  if (static_cast<std::int64_t>(node.pods.size()) + 1 > have.pods) refuse("Too many pods");
  if (want.milli_cpu > 0 && want.milli_cpu > have.milli_cpu - used.milli_cpu) {
    refuse("Insufficient cpu");
  }
  if (want.memory > 0 && want.memory > have.memory - used.memory) refuse("Insufficient memory");
  if (want.ephemeral_storage > 0 &&
      want.ephemeral_storage > have.ephemeral_storage - used.ephemeral_storage) {
    refuse("Insufficient ephemeral-storage");
  }
  for (const auto& [name, amount] : want.extended) {
    const auto capacity = have.extended.find(name);
    const auto taken = used.extended.find(name);
    const std::int64_t left = (capacity != have.extended.end() ? capacity->second : 0) -
                              (taken != used.extended.end() ? taken->second : 0);
    if (amount > 0 && amount > left) refuse("Insufficient " + name);
  }
  return verdict;
}

std::int64_t NodeResourcesFit::score(const CycleState&, const PodInfo& pod,
                                     const NodeInfo& node) const {
  const auto& used = node.nonzero_requested;
  const auto& want = pod.nonzero_requests;
  return (free_share(used.milli_cpu + want.milli_cpu, node.allocatable.milli_cpu) +
          free_share(used.memory + want.memory, node.allocatable.memory)) /
         2;
}

std::int64_t NodeResourcesBalancedAllocation::score(const CycleState&, const PodInfo& pod,
                                                    const NodeInfo& node) const {
  const auto& want = pod.requests;
  if (want.milli_cpu == 0 && want.memory == 0)
    return 0;  // a best-effort pod cannot unbalance a node
  const double cpu =
      used_share(node.requested.milli_cpu + want.milli_cpu, node.allocatable.milli_cpu);
  const double memory = used_share(node.requested.memory + want.memory, node.allocatable.memory);
  // The standard deviation of two values is half their distance.
  const double deviation = std::abs(cpu - memory) / 2;
  return static_cast<std::int64_t>((1 - deviation) * static_cast<double>(kMaxNodeScore));
}

}  // namespace skiff::scheduler::plugins
