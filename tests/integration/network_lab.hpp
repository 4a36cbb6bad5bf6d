// A machine in a namespace: the test's own "node", pods as further namespaces, tiny servers and
// clients in them. Everything is gone when the last descriptor is closed.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"

namespace skiff::lab {

// Why these tests can not run here; empty when they can.
std::string missing();

// A network namespace, held by its descriptor.
class Namespace {
 public:
  // The calling thread moves into a fresh one with lo up: the node. Threads started later live
  // there too.
  static Namespace enter_fresh();
  // A fresh one beside; the calling thread stays where it is.
  static Namespace make();
  Namespace(Namespace&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Namespace& operator=(Namespace&&) = delete;
  ~Namespace();
  std::string path() const;
  void run(const std::function<void()>& function) const;

 private:
  explicit Namespace(int fd) : fd_(fd) {}
  int fd_;
};

// Answers every TCP connection and every datagram with "NAME CLIENT-ADDRESS".
class Server {
 public:
  Server(const Namespace& where, std::string name, std::uint16_t port);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

 private:
  void serve();
  std::string name_;
  int tcp_ = -1, udp_ = -1;
  std::atomic<bool> stopped_ = false;
  std::thread thread_;
};

struct Answer {
  std::string name, client;
  int number = 0;  // errno when there was none
};
// One TCP connection from inside a namespace. Gives up after `milliseconds`.
Answer ask(const Namespace& from, const std::string& address, std::uint16_t port,
           int milliseconds = 2000);
// A socket that keeps its port: what UDP clients such as resolvers do.
class UdpClient {
 public:
  explicit UdpClient(const Namespace& from);
  UdpClient(const UdpClient&) = delete;
  UdpClient& operator=(const UdpClient&) = delete;
  ~UdpClient();
  Answer ask(const std::string& address, std::uint16_t port, int milliseconds = 500);

 private:
  int fd_ = -1;
};

// How often each server answered.
std::map<std::string, int> spread(const Namespace& from, const std::string& address,
                                  std::uint16_t port, int times);

// A loop with everything real on it.
struct World {
  asio::io_context io;
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{2};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};

  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    std::exception_ptr error;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr e, T value) {
      error = e;
      result.emplace(std::move(value));
    });
    io.restart();
    while (!result) io.run_one();
    if (error) std::rethrow_exception(error);
    return std::move(*result);
  }
  void run(Task<void> task);
};

}  // namespace skiff::lab
