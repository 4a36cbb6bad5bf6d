// How many bytes of records were written, by what they are: the first two segments of their keys.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "skiff/base/metrics.hpp"

namespace skiff::store {

class WriteMeter {
 public:
  static constexpr std::size_t kNames = 64;  // more are counted as "other"

  explicit WriteMeter(metrics::Registry& registry) : registry_(registry) {}
  // On the writer's thread.
  void count(std::string_view key, std::size_t bytes);
  // "/core/pods/ns/name" is of "core/pods".
  static std::string_view name_of(std::string_view key);

 private:
  metrics::Counter& counter(std::string name);
  metrics::Registry& registry_;
  std::map<std::string, metrics::Counter*, std::less<>> counters_;
};

}  // namespace skiff::store
