// What tests of the log over etcd share, be it a real one or not: a loop on real time, a store's
// stand-in that remembers, and a server's end of the log.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "skiff/etcd/etcd.hpp"

namespace skiff::etcd::test {

struct Loop {
  asio::io_context io{1};
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{1};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};

  // Runs until `body` is done; two minutes are a hang.
  void run(Task<void> body) {
    TaskGroup group(io.get_executor());
    group.spawn("test", std::move(body));
    io.restart();
    while (group.size() > 0 && io.run_one_for(120s) > 0) {
    }
    REQUIRE(group.size() == 0);
  }
};

// What a store would know: keys and values as they were delivered.
class Mirror final : public store::LogUser {
 public:
  explicit Mirror(Executor executor) : changed(std::move(executor)) {}

  void deliver(store::Records records) override {
    REQUIRE_FALSE(records->empty());
    for (const store::Record& record : *records) {
      REQUIRE(record.item->modified > revision);
      revision = record.item->modified;
      delivered.push_back(record);
      apply(record);
    }
    changed.notify_all();
  }
  void replace(store::Recovered at, std::vector<store::Record> state) override {
    items.clear();
    for (const store::Record& record : state) apply(record);
    revision = at.revision;
    ++replaced;
    changed.notify_all();
  }
  Task<std::vector<Result<store::Revision>>> decide(std::vector<store::Op>) override {
    REQUIRE(false);
    co_return std::vector<Result<store::Revision>>();
  }
  void decider_changed() override {
    ++decider_changes;
    changed.notify_all();
  }

  void apply(const store::Record& record) {
    if (record.erase) {
      items.erase(record.item->key);
    } else {
      items[record.item->key] = record.item;
    }
  }
  // Waits until it was delivered.
  Task<void> reach(store::Revision wanted) {
    while (revision < wanted) co_await changed.wait();
  }

  std::map<std::string, store::ItemPtr> items;
  std::vector<store::Record> delivered;
  store::Revision revision = 0;
  int replaced = 0;
  int decider_changes = 0;
  Signal changed;
};

// One skiff server's log.
struct Server {
  Server(Loop& loop, EtcdOptions options) : mirror(loop.env.executor) {
    auto opened = open_etcd_log(loop.env, std::move(options));
    REQUIRE(opened.has_value());
    log = std::move(*opened);
    log->attach(mirror);
  }
  Task<Result<store::Recovered>> begin() {
    std::function<void(store::Record)> each = [this](store::Record record) {
      mirror.apply(record);
    };
    auto out = co_await log->replay(std::move(each));
    if (out) mirror.revision = out->revision;
    co_return out;
  }
  Task<Result<store::Revision>> write(store::Op op) {
    std::vector<store::Op> ops;
    ops.push_back(std::move(op));
    auto verdicts = co_await log->forward(std::move(ops));
    REQUIRE(verdicts.size() == 1);
    co_return verdicts[0];
  }

  Mirror mirror;
  std::unique_ptr<store::Log> log;
};

inline store::Op put(std::string key, std::string value,
                     std::optional<store::Revision> expect = {}) {
  store::Op op;
  op.key = std::move(key);
  op.value = std::move(value);
  op.expect = expect;
  return op;
}

inline store::Op erase(std::string key, std::optional<store::Revision> expect = {}) {
  store::Op op = put(std::move(key), "", expect);
  op.type = store::Op::Type::erase;
  return op;
}

// Short, so that tests of outages are.
inline EtcdOptions options_for(const std::string& url) {
  EtcdOptions options;
  options.endpoints = {url};
  options.connect_timeout = 1s;
  options.request_timeout = 5s;
  options.health_interval = 1s;
  options.history = Duration{};
  options.lease = 2s;
  return options;
}

}  // namespace skiff::etcd::test
