#include "write_meter.hpp"

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

}  // namespace skiff::store
