// A registry over a store in memory, on one loop under virtual time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "skiff/registry/direct_client.hpp"

namespace skiff::test {

using api::Value;
using client::ObjectPtr;

inline Value parse(std::string_view json) { return api::parse_json(json).value(); }

class Fixture {
 public:
  Fixture() : env{io.get_executor(), &clock, &random, &metrics, &blocking} { run(boot()); }
  ~Fixture() {
    group.cancel();
    run(group.join());
    run(close());
  }

  template <class T>
  T run(Task<T> task) {
    std::optional<T> out;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr error, T value) {
      if (error) std::rethrow_exception(error);
      out.emplace(std::move(value));
    });
    while (!out) step();
    return std::move(*out);
  }
  void run(Task<void> task) {
    bool done = false;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
      done = true;
    });
    while (!done) step();
  }
  void step() {
    io.restart();
    if (io.poll_one() == 0) clock.advance_to_next();
  }
  void settle() {
    io.restart();
    while (io.poll_one() != 0) io.restart();
  }

  Result<ObjectPtr> create(const client::Ref& ref, std::string_view json) {
    return run(client->create(ref, parse(json), {}));
  }
  Result<ObjectPtr> get(const client::Ref& ref) { return run(client->get(ref)); }

  asio::io_context io;
  VirtualClock clock;
  SeededRandom random{3};
  metrics::Registry metrics;
  BlockingPool blocking{0};
  Env env;
  TaskGroup group{io.get_executor()};
  std::unique_ptr<store::Store> store;
  std::unique_ptr<registry::Registry> registry;
  std::unique_ptr<registry::DirectClient> client;

 private:
  Task<void> boot() {
    store::StoreOptions options;
    auto opened = co_await store::Store::open(env, store::make_memory_log(), options);
    store = std::move(opened.value());
    registry::Options registry_options;
    registry = std::make_unique<registry::Registry>(env, *store, registry_options);
    const auto started = co_await registry->start(group);
    started.value();
    client = std::make_unique<registry::DirectClient>(*registry, "test");
  }
  Task<void> close() { co_await store->close(); }
};

}  // namespace skiff::test
