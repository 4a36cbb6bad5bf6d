// Counters, gauges and histograms, rendered in the Prometheus text format (version 0.0.4).
// Updating is safe from any thread; families are created once and live as long as the Registry.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace skiff::metrics {

// Label values in the order of the family's label names.
using LabelValues = std::vector<std::string>;

class Counter {
 public:
  void add(double amount = 1) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void set(double value) noexcept { value_.store(value, std::memory_order_relaxed); }
  void add(double amount) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);
  void observe(double value) noexcept;
  void render(std::string& out, std::string_view name, std::string_view labels) const;

 private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;  // one more than bounds: +Inf
  std::atomic<double> sum_{0};
};

class Registry {
 public:
  // The same name always gives the same family; label names must agree.
  Counter& counter(std::string name, std::string help, std::vector<std::string> label_names = {},
                   LabelValues values = {});
  Gauge& gauge(std::string name, std::string help, std::vector<std::string> label_names = {},
               LabelValues values = {});
  Histogram& histogram(std::string name, std::string help, std::vector<double> bounds,
                       std::vector<std::string> label_names = {}, LabelValues values = {});
  // `refresh` runs before each render, to set gauges that cost something to know.
  void on_render(std::function<void()> refresh);

  std::string render() const;

 private:
  enum class Type : std::uint8_t { counter, gauge, histogram };
  struct Child {
    std::unique_ptr<Counter> counter;
    std::unique_ptr<Gauge> gauge;
    std::unique_ptr<Histogram> histogram;
  };
  struct Family {
    Type type;
    std::string help;
    std::vector<std::string> label_names;
    std::map<LabelValues, Child> children;
  };
  Child& child(std::string name, std::string help, Type type, std::vector<std::string> label_names,
               LabelValues values);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
  std::vector<std::function<void()>> refreshers_;
};

}  // namespace skiff::metrics
