// Durable puts to Debian's etcd, for comparison.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

// A lone `etcd` on loopback with its data in a directory, for as long as this lives. Loads come
// over HTTP/1.1 keep-alive and its JSON gateway, which costs it something; its own gRPC load tool
// measures some 3,000 puts a second here.
class EtcdPeer {
 public:
  // Null, after saying why, where there is no etcd.
  static std::unique_ptr<EtcdPeer> start(const std::string& directory);
  ~EtcdPeer();
  EtcdPeer(const EtcdPeer&) = delete;
  EtcdPeer& operator=(const EtcdPeer&) = delete;

  // Puts values of 500 bytes for three seconds; prints and returns how many a second.
  double puts(int connections);

 private:
  explicit EtcdPeer(const std::string& directory);
  pid_t pid_;
};
