// Debian's etcd on loopback, and skiff servers over it.
#pragma once

#include <functional>

#include "support/etcd_log.hpp"

namespace skiff::etcd::test {

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

// A fresh etcd and what stands over it. Everything is closed when the test is over.
class Lab {
 public:
  Lab();  // skips the test where etcd is not installed

  EtcdOptions options() const { return options_for(etcd.url()); }
  Server& add() { return add(options()); }
  Server& add(EtcdOptions options);
  // Runs `body` and closes all servers.
  void run(std::function<Task<void>()> body);
  // Has it begin as soon as etcd answers, which needs a moment after its start.
  Task<void> begin(Server& server);

  EtcdProcess etcd;
  Loop loop;

 private:
  Task<void> all(std::function<Task<void>()> body);
  std::vector<std::unique_ptr<Server>> servers_;
};

}  // namespace skiff::etcd::test
