// Many watches over HTTPS from one thread: opens them, says "open", counts events until told to
// stop.
//   watch_load PORT CREDENTIAL PATH CONNECTIONS
// CREDENTIAL is a bearer token, or the path of a file with a client certificate and its key (PEM).
// Prints "open N" once every watch has its answer, then, on each line read from standard input, one
// line: seconds since the first event, events, watches that ended. An empty line ends it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Connection {
  int fd = -1;
  SSL* tls = nullptr;
  std::size_t matched = 0;  // how much of the pattern the last bytes were
  bool answered = false;
  bool expired = false;
  bool ended = false;
};

// What every event begins with, and nothing else does.
constexpr std::string_view kPattern = R"({"type":")";

// An event of type ERROR is the end of the watch, though not of its connection.
std::size_t count(Connection& c, std::string_view bytes) {
  std::size_t events = 0;
  for (const char b : bytes) {
    if (c.matched == kPattern.size()) {
      c.matched = 0;
      if (b == 'E') {
        c.expired = true;
      } else {
        ++events;
      }
    }
    c.matched = b == kPattern[c.matched] ? c.matched + 1 : (b == kPattern[0] ? 1 : 0);
  }
  return events;
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

bool open_watch(SSL_CTX* context, int port, const std::string& request, Connection& c) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c.fd < 0 || ::connect(c.fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return false;
  c.tls = SSL_new(context);
  SSL_set_fd(c.tls, c.fd);
  SSL_set_mode(c.tls, SSL_MODE_RELEASE_BUFFERS);
  if (SSL_connect(c.tls) != 1) return false;
  return SSL_write(c.tls, request.data(), static_cast<int>(request.size())) > 0;
}

class Load {
 public:
  explicit Load(std::size_t n) : connections_(n), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

  void open(SSL_CTX* context, int port, const std::string& request) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (!open_watch(context, port, request, connections_[i])) fail("opening a watch");
      epoll_event e{};
      e.events = EPOLLIN;
      e.data.u64 = i;
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].fd, &e);
      turn(0);
    }
    while (answered_ < connections_.size() && ended_ == 0) turn(100);
    std::printf("open %zu\n", answered_);
    std::fflush(stdout);
  }

  void run() {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = connections_.size();
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, 0, &e);
    while (!done_) turn(-1);
  }

 private:
  void turn(int timeout) {
    epoll_event ready[256];
    const int n = ::epoll_wait(epoll_, ready, 256, timeout);
    for (int i = 0; i < n; ++i) {
      if (ready[i].data.u64 == connections_.size()) {
        command();
      } else {
        receive(connections_[ready[i].data.u64]);
      }
    }
  }

  void receive(Connection& c) {
    static char buffer[65536];
    do {
      const int n = SSL_read(c.tls, buffer, sizeof buffer);
      if (n <= 0) {
        ::epoll_ctl(epoll_, EPOLL_CTL_DEL, c.fd, nullptr);
        c.ended = true;
        if (!c.expired) ++ended_;
        return;
      }
      if (!c.answered) {
        c.answered = true;
        ++answered_;
      }
      const bool expired = c.expired;
      const std::size_t events = count(c, {buffer, static_cast<std::size_t>(n)});
      if (c.expired && !expired) ++ended_;
      if (events > 0 && events_ == 0) first_ = Clock::now();
      if (events > 0) last_ = Clock::now();
      events_ += events;
    } while (SSL_pending(c.tls) > 0);
  }

  void command() {
    char line[64];
    const ssize_t n = ::read(0, line, sizeof line);
    if (n <= 1) {
      done_ = true;
      return;
    }
    std::printf("%.3f %zu %zu\n", std::chrono::duration<double>(last_ - first_).count(), events_,
                ended_);
    std::fflush(stdout);
  }

  std::vector<Connection> connections_;
  int epoll_;
  std::size_t answered_ = 0;
  std::size_t ended_ = 0;
  std::size_t events_ = 0;
  Clock::time_point first_, last_;
  bool done_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: watch_load PORT CREDENTIAL PATH CONNECTIONS\n");
    return 1;
  }
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nullptr);
  const std::string credential = argv[2];
  std::string request = "GET " + std::string(argv[3]) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  if (credential.find('/') == std::string::npos) {
    request += "Authorization: Bearer " + credential + "\r\n";
  } else if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
             SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1) {
    std::fprintf(stderr, "%s holds no client certificate and key\n", argv[2]);
    return 1;
  }
  request += "\r\n";
  Load load(std::strtoull(argv[4], nullptr, 10));
  load.open(context, std::atoi(argv[1]), request);
  load.run();
  return 0;
}
