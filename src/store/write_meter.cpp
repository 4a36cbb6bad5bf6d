#include "write_meter.hpp"

#include <algorithm>
#include <cstdlib>

#include "skiff/store/log.hpp"

namespace skiff::store {

std::string_view WriteMeter::name_of(std::string_view key) {
  if (key.starts_with('/')) key.remove_prefix(1);
  const std::size_t first = key.find('/');
  if (first == std::string_view::npos) return key;
  return key.substr(0, key.find('/', first + 1));
}

metrics::Counter& WriteMeter::counter(std::string name) {
  return registry_.counter("skiff_store_record_bytes_total",
                           "Bytes of records written, by what they are.", {"resource"},
                           {std::move(name)});
}

void WriteMeter::count(std::string_view key, std::size_t bytes) {
  const std::string_view name = name_of(key);
  auto it = counters_.find(name);
  if (it == counters_.end()) {
    const bool known = counters_.size() < kNames && name.size() <= 128;
    metrics::Counter& c = counter(known ? std::string(name) : "other");
    if (!known) {
      c.add(static_cast<double>(bytes));
      return;
    }
    it = counters_.emplace(name, &c).first;
  }
  it->second->add(static_cast<double>(bytes));
}

namespace {

// The value of a line `name value` or `name{...} value`.
double value_of(std::string_view line) {
  const std::string text(line.substr(line.rfind(' ') + 1));
  const double value = std::strtod(text.c_str(), nullptr);
  return value > 0 ? value : 0;
}

}  // namespace

WriteSummary summarize_writes(std::string_view metrics, WallTime now) {
  constexpr std::string_view kRecords = "skiff_store_record_bytes_total{resource=\"";
  WriteSummary summary;
  double since = 0;
  while (!metrics.empty()) {
    const std::size_t end = std::min(metrics.find('\n'), metrics.size());
    const std::string_view line = metrics.substr(0, end);
    metrics.remove_prefix(std::min(end + 1, metrics.size()));
    const auto bytes = static_cast<std::uint64_t>(value_of(line));
    if (line.starts_with("skiff_store_bytes_written_total ")) summary.bytes = bytes;
    if (line.starts_with("skiff_store_opened_timestamp_seconds ")) since = value_of(line);
    if (!line.starts_with(kRecords)) continue;
    const std::string_view rest = line.substr(kRecords.size());
    summary.records.emplace_back(rest.substr(0, rest.find('"')), bytes);
  }
  std::stable_sort(summary.records.begin(), summary.records.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  const double seconds = std::chrono::duration<double>(now.time_since_epoch()).count() - since;
  if (since > 0 && seconds >= 1) {
    summary.per_day =
        static_cast<std::uint64_t>(static_cast<double>(summary.bytes) * 86'400 / seconds + 0.5);
  }
  return summary;
}

}  // namespace skiff::store
