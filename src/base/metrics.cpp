#include "skiff/base/metrics.hpp"

#include <algorithm>
#include <cmath>

#include "skiff/base/result.hpp"

namespace skiff::metrics {
namespace {

std::string number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return std::to_string(static_cast<long long>(value));
  }
  char buffer[32];
  const int n = std::snprintf(buffer, sizeof buffer, "%.9g", value);
  return {buffer, static_cast<std::size_t>(n)};
}

void append_escaped(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

// `a="1",b="2"`, without braces.
std::string labels_of(const std::vector<std::string>& names, const LabelValues& values) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += ',';
    out += names[i] + "=\"";
    append_escaped(out, values[i]);
    out += '"';
  }
  return out;
}

void append_sample(std::string& out, std::string_view name, std::string_view labels,
                   std::string_view value) {
  out += name;
  if (!labels.empty()) {
    out += '{';
    out += labels;
    out += '}';
  }
  out += ' ';
  out += value;
  out += '\n';
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)),
      counts_(std::make_unique<std::atomic<std::uint64_t>[]>(bounds_.size() + 1)) {}

void Histogram::observe(double value) noexcept {
  const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<std::size_t>(at)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::render(std::string& out, std::string_view name, std::string_view labels) const {
  std::uint64_t total = 0;
  const std::string prefix = labels.empty() ? "" : std::string(labels) + ",";
  for (std::size_t i = 0; i <= bounds_.size(); ++i) {
    total += counts_[i].load(std::memory_order_relaxed);
    const std::string bound = i < bounds_.size() ? number(bounds_[i]) : "+Inf";
    append_sample(out, std::string(name) + "_bucket", prefix + "le=\"" + bound + "\"",
                  std::to_string(total));
  }
  append_sample(out, std::string(name) + "_sum", labels, number(sum_.load()));
  append_sample(out, std::string(name) + "_count", labels, std::to_string(total));
}

Registry::Child& Registry::child(std::string name, std::string help, Type type,
                                 std::vector<std::string> label_names, LabelValues values) {
  const auto it = families_.find(name);
  Family& family =
      it != families_.end()
          ? it->second
          : families_.emplace(std::move(name), Family{type, std::move(help), label_names, {}})
                .first->second;
  SKIFF_ASSERT(family.type == type && family.label_names == label_names &&
                   values.size() == label_names.size(),
               "a metric was registered twice with different types or labels");
  return family.children[std::move(values)];
}

Counter& Registry::counter(std::string name, std::string help, std::vector<std::string> label_names,
                           LabelValues values) {
  const std::scoped_lock lock(mutex_);
  Child& c = child(std::move(name), std::move(help), Type::counter, std::move(label_names),
                   std::move(values));
  if (!c.counter) c.counter = std::make_unique<Counter>();
  return *c.counter;
}

Gauge& Registry::gauge(std::string name, std::string help, std::vector<std::string> label_names,
                       LabelValues values) {
  const std::scoped_lock lock(mutex_);
  Child& c = child(std::move(name), std::move(help), Type::gauge, std::move(label_names),
                   std::move(values));
  if (!c.gauge) c.gauge = std::make_unique<Gauge>();
  return *c.gauge;
}

Histogram& Registry::histogram(std::string name, std::string help, std::vector<double> bounds,
                               std::vector<std::string> label_names, LabelValues values) {
  const std::scoped_lock lock(mutex_);
  Child& c = child(std::move(name), std::move(help), Type::histogram, std::move(label_names),
                   std::move(values));
  if (!c.histogram) c.histogram = std::make_unique<Histogram>(std::move(bounds));
  return *c.histogram;
}

void Registry::on_render(std::function<void()> refresh) {
  const std::scoped_lock lock(mutex_);
  refreshers_.push_back(std::move(refresh));
}

std::string Registry::render() const {
  std::vector<std::function<void()>> refreshers;
  {
    const std::scoped_lock lock(mutex_);
    refreshers = refreshers_;
  }
  for (const auto& refresh : refreshers) refresh();  // may register metrics: not under the lock

  static constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram"};
  const std::scoped_lock lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    out += "# HELP " + name + " " + family.help + "\n";
    out += "# TYPE " + name + " " + std::string(kTypes[static_cast<int>(family.type)]) + "\n";
    for (const auto& [values, c] : family.children) {
      const std::string labels = labels_of(family.label_names, values);
      if (c.counter) append_sample(out, name, labels, number(c.counter->value()));
      if (c.gauge) append_sample(out, name, labels, number(c.gauge->value()));
      if (c.histogram) c.histogram->render(out, name, labels);
    }
  }
  return out;
}

}  // namespace skiff::metrics
