// What every part of the registry works with.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "event_expiry.hpp"
#include "key_locks.hpp"
#include "service_allocator.hpp"
#include "skiff/api/codec.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::registry {

// One string for everything an author wrote: there are few authors and many writes.
class Authors {
 public:
  store::Author of(const WriteContext& context);

 private:
  // Clients choose their own names: beyond this many the table starts again.
  static constexpr std::size_t kMost = 1024;
  std::unordered_map<std::string, store::Author> known_;
};

struct Core {
  Env env;
  store::Store& store;
  Options options;
  KeyLocks locks;
  ServiceAllocator services;
  EventExpiry expiry;
  Authors authors;
  // The first objects are written in one commit, with the namespaces they live in.
  bool bootstrapping = false;

  Core(Env env_, store::Store& store_, Options options_, ServiceAllocator services_)
      : env(env_),
        store(store_),
        options(std::move(options_)),
        locks(env_.executor),
        services(std::move(services_)),
        expiry(env_) {}

  // The newest version of a stored object, or null.
  ItemPtr find(std::string_view group, std::string_view plural, std::string_view ns,
               std::string_view name) const;
  // Every stored object of a kind, or of one namespace of it.
  std::vector<ItemPtr> all(std::string_view group, std::string_view plural,
                           std::string_view ns) const;
  std::string now() const { return format_time(env.clock->wall()); }
};

// What a write took or will give back outside the store (addresses, ports): settled once, when it
// is known whether the write happened.
class Reservations {
 public:
  Reservations() = default;
  Reservations(Reservations&&) noexcept = default;
  Reservations& operator=(Reservations&&) noexcept = default;
  void if_committed(std::function<void()> f) { committed_.push_back(std::move(f)); }
  void if_refused(std::function<void()> f) { refused_.push_back(std::move(f)); }
  // Names of allocations (allocations.hpp) that this write needs, or no longer needs.
  void take(std::string name) { taken_.push_back(std::move(name)); }
  void give_back(std::string name) { given_back_.push_back(std::move(name)); }
  const std::vector<std::string>& taken() const noexcept { return taken_; }
  const std::vector<std::string>& given_back() const noexcept { return given_back_; }
  void settle(bool committed) {
    for (auto& f : committed ? committed_ : refused_) f();
    committed_.clear();
    refused_.clear();
  }

 private:
  std::vector<std::function<void()>> committed_;
  std::vector<std::function<void()>> refused_;
  std::vector<std::string> taken_;
  std::vector<std::string> given_back_;
};

// One write on its way.
struct Call {
  Core& core;
  const Target& target;
  const api::Resource& resource;  // as stored
  const WriteContext& context;
  Reservations& reservations;

  void warn(std::string message) const {
    if (context.warnings) context.warnings->push_back(std::move(message));
  }
};

}  // namespace skiff::registry
