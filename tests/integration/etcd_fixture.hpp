// Debian's etcd on loopback, a loop with real time, and a LogUser that remembers.
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
  BlockingPool blocking{1};
  Env env{io.get_executor(), &clock, &random, nullptr, &blocking};

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

// A process of /usr/bin/etcd with its data in a directory of its own.
class EtcdProcess {
 public:
  EtcdProcess();
  ~EtcdProcess();
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;

  static bool installed();
  void start();
  void kill();  // -9, and waits
  const std::string& url() const { return url_; }

 private:
  std::string directory_;
  std::string url_;
  std::string peer_url_;
  int pid_ = -1;
};

// What a store would know: keys and values as they were delivered.
class Mirror final : public store::LogUser {
 public:
  explicit Mirror(Executor executor) : changed(std::move(executor)) {}
  void deliver(store::Records records) override;
  void replace(store::Recovered at, std::vector<store::Record> state) override;
  Task<std::vector<Result<store::Revision>>> decide(std::vector<store::Op> ops) override;
  void decider_changed() override {
    ++decider_changes;
    changed.notify_all();
  }

  void apply(const store::Record& record);
  Task<void> reach(store::Revision revision);  // waits until it was delivered

  std::map<std::string, store::ItemPtr> items;
  std::vector<store::Record> delivered;
  store::Revision revision = 0;
  int replaced = 0;
  int decider_changes = 0;
  Signal changed;
};

// One skiff server's log.
struct Server {
  Server(Loop& loop, EtcdOptions options);
  Task<Result<store::Recovered>> begin();
  Task<Result<store::Revision>> write(store::Op op);
  Mirror mirror;
  std::unique_ptr<store::Log> log;
};

store::Op put(std::string key, std::string value, std::optional<store::Revision> expect = {});
store::Op erase(std::string key, std::optional<store::Revision> expect = {});
EtcdOptions options_for(const EtcdProcess& etcd);

}  // namespace skiff::etcd::test
