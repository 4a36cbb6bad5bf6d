#include "etcd_load.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kPort = 42379;

double since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

int dial() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(kPort);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }
  ::close(fd);
  return -1;
}

std::string base64(const std::string& bytes) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += i + j > bytes.size() ? '=' : kLetters[group >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

struct Connection {
  int fd = -1;
  int sent = 0;
  SteadyClock::time_point began;
  std::string answer;
};

void put(Connection& c, std::size_t number) {
  static const std::string value = base64(std::string(500, 'x'));
  const std::string key =
      base64("/registry/configmaps/" + std::to_string(number) + "/" + std::to_string(c.sent++));
  const std::string body = "{\"key\":\"" + key + "\",\"value\":\"" + value + "\"}";
  const std::string request =
      "POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  c.answer.clear();
  c.began = SteadyClock::now();
  if (::write(c.fd, request.data(), request.size()) != static_cast<ssize_t>(request.size())) {
    std::exit(1);
  }
}

// A whole answer: its head and as many bytes as that says.
bool whole(const std::string& answer) {
  const std::size_t head = answer.find("\r\n\r\n");
  if (head == std::string::npos) return false;
  const std::size_t length = answer.find("Content-Length: ");
  if (length == std::string::npos || length > head) return true;
  return answer.size() >=
         head + 4 + static_cast<std::size_t>(std::atoi(answer.c_str() + length + 16));
}

}  // namespace

EtcdPeer::EtcdPeer(const std::string& directory) : pid_(::fork()) {
  if (pid_ != 0) return;
  const std::string client = "http://127.0.0.1:" + std::to_string(kPort);
  const std::string peer = "http://127.0.0.1:" + std::to_string(kPort + 1);
  const std::string data = directory + "/etcd";
  const int null = ::open("/dev/null", O_RDWR);
  ::dup2(null, 1);
  ::dup2(null, 2);
  ::execlp("etcd", "etcd", "--data-dir", data.c_str(), "--listen-client-urls", client.c_str(),
           "--advertise-client-urls", client.c_str(), "--listen-peer-urls", peer.c_str(),
           "--initial-advertise-peer-urls", peer.c_str(), "--initial-cluster",
           ("default=" + peer).c_str(), static_cast<char*>(nullptr));
  std::_Exit(127);
}

EtcdPeer::~EtcdPeer() {
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

std::unique_ptr<EtcdPeer> EtcdPeer::start(const std::string& directory) {
  if (std::system("command -v etcd >/dev/null") != 0) {  // NOLINT: a benchmark of one thread
    std::printf("etcd                           not installed: no comparison\n");
    return nullptr;
  }
  std::unique_ptr<EtcdPeer> etcd(new EtcdPeer(directory));
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const int fd = dial();
    if (fd < 0) continue;
    ::close(fd);
    std::this_thread::sleep_for(std::chrono::seconds(2));
    return etcd;
  }
  std::printf("etcd                           does not start\n");
  return nullptr;
}

double EtcdPeer::puts(int count) {
  std::vector<Connection> connections(static_cast<std::size_t>(count));
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (std::size_t i = 0; i < connections.size(); ++i) {
    connections[i].fd = dial();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
  }
  std::vector<double> latencies;
  const auto start = SteadyClock::now();
  for (std::size_t i = 0; i < connections.size(); ++i) put(connections[i], i);
  char buffer[4096];
  while (since(start) < 3.0) {
    epoll_event events[64];
    const int n = ::epoll_wait(epoll, events, 64, 1000);
    for (int e = 0; e < n; ++e) {
      const std::size_t i = events[e].data.u64;
      Connection& c = connections[i];
      const ssize_t got = ::read(c.fd, buffer, sizeof buffer);
      if (got <= 0) std::exit(1);
      c.answer.append(buffer, static_cast<std::size_t>(got));
      if (!whole(c.answer)) continue;
      if (c.answer.find("200 OK") == std::string::npos) std::exit(1);
      latencies.push_back(since(c.began));
      put(c, i);
    }
  }
  const double rate = static_cast<double>(latencies.size()) / since(start);
  std::sort(latencies.begin(), latencies.end());
  std::printf(
      "etcd puts, %4d connections    %9.0f /s                  p50 %6.2f ms  p99 %6.2f ms\n", count,
      rate, latencies[latencies.size() / 2] * 1e3, latencies[latencies.size() * 99 / 100] * 1e3);
  for (const Connection& c : connections) ::close(c.fd);
  ::close(epoll);
  return rate;
}
