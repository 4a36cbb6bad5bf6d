// What the HTTP server costs: small HTTPS requests over kept connections, the fan-out of one event
// to many watchers, the memory of an idle watcher. Server and client are processes of their own,
// which share this machine's cores.
//   bench_http [CONNECTIONS [SECONDS [WATCHERS]]]    (64, 5, 2000)
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "skiff/http/client.hpp"
#include "skiff/http/server.hpp"

namespace {

using namespace skiff;        // NOLINT: a program of one file
using namespace skiff::http;  // NOLINT

std::string pem_text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

TlsIdentity self_signed() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -60);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key);
  X509_sign(x, key, EVP_sha256());
  BIO* certificate = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate, x);
  BIO* private_key = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(private_key, key, nullptr, nullptr, 0, nullptr, nullptr);
  TlsIdentity identity{pem_text(certificate), pem_text(private_key)};
  X509_free(x);
  EVP_PKEY_free(key);
  return identity;
}

struct Loop {
  asio::io_context io{1};
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{1};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
};

struct BenchHandler final : Handler {
  explicit BenchHandler(Env env) : news(env.executor) {}
  Task<void> handle(Request request, Exchange& exchange) override {
    if (request.path == "/watch") co_return co_await watch(exchange);
    if (request.path == "/news") {
      ++round;
      news.notify_all();
    }
    if (request.path == "/rss") {
      exchange.respond(Response::text(200, std::to_string(rss())));
      co_return;
    }
    Response response;
    response.headers.add("Content-Type", "application/json");
    response.body.emplace_back(body);
    exchange.respond(std::move(response));
  }

  Task<void> watch(Exchange& exchange) {
    co_await exchange.start(Response::text(200, "watching\n"));
    for (;;) {
      co_await news.wait();
      Buffers event{Buffer(body)};
      const Result<void> written = co_await exchange.write(std::move(event));
      if (!written) co_return;
    }
  }

  static std::size_t rss() {
    std::ifstream statm("/proc/self/statm");
    std::size_t total = 0;
    std::size_t resident = 0;
    statm >> total >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  }

  Signal news;
  int round = 0;
  std::shared_ptr<const std::string> body = std::make_shared<const std::string>(300, 'j');
};

[[noreturn]] void serve(int port_pipe) {
  Loop loop;
  BenchHandler handler(loop.env);
  ServerOptions options;
  options.address = "127.0.0.1";
  options.tls.emplace();
  options.tls->identity = self_signed();
  Server server(loop.env, handler, options);
  const Result<void> listening = server.listen();
  if (!listening) {
    std::fprintf(stderr, "%s\n", listening.error().message.c_str());
    std::exit(1);
  }
  const std::uint16_t port = server.port();
  if (::write(port_pipe, &port, sizeof port) != sizeof port) std::exit(1);
  loop.io.run();
  std::_Exit(0);
}

struct Counter {
  std::size_t answers = 0;
  std::size_t failures = 0;
  std::size_t events = 0;
  std::size_t watching = 0;
};

Task<void> ask(Client& client, Clock& clock, std::string url, TimePoint end, Counter& counter) {
  while (clock.now() < end) {
    ClientRequest request;
    request.url = url;
    request.timeout = Duration::zero();
    auto answer = co_await client.request(std::move(request));
    ++(answer ? counter.answers : counter.failures);
  }
}

Task<void> watch(Client& client, std::string url, Counter& counter) {
  ClientRequest request;
  request.url = url;
  auto stream = co_await client.stream(std::move(request));
  if (!stream) {
    ++counter.failures;
    co_return;
  }
  auto first = co_await (*stream)->read();
  ++counter.watching;
  for (;;) {
    auto part = co_await (*stream)->read();
    if (!part || part->empty()) co_return;
    counter.events += part->size() / 300;
  }
}

// CPU seconds that process `pid` has used.
double cpu_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string skip;
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  text.erase(0, text.rfind(')') + 2);
  unsigned long user = 0;
  unsigned long system = 0;
  std::sscanf(text.c_str(), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double seconds_since(const Clock& clock, TimePoint start) {
  return std::chrono::duration<double>(clock.now() - start).count();
}

Task<void> small_requests(Loop& loop, std::string base, int connections, int seconds, pid_t pid) {
  ClientOptions options;
  options.tls.insecure_skip_verify = true;
  options.max_kept_per_host = 1000;
  Client client(loop.env, options);
  TaskGroup group(loop.env.executor);
  Counter counter;
  const double cpu = cpu_of(pid);
  const TimePoint start = loop.clock.now();
  for (int i = 0; i < connections; ++i) {
    group.spawn("ask", ask(client, loop.clock, base + "/api/v1/namespaces/default/pods/web-1",
                           start + std::chrono::seconds(seconds), counter));
  }
  co_await group.join();
  const double took = seconds_since(loop.clock, start);
  const double used = cpu_of(pid) - cpu;
  std::printf("small HTTPS requests, %d connections: %.0f/s, %.1f us of server CPU each",
              connections, static_cast<double>(counter.answers) / took,
              used * 1e6 / static_cast<double>(counter.answers));
  std::printf(" (one core would serve %.0f/s), %zu failed\n",
              static_cast<double>(counter.answers) / used, counter.failures);
}

Task<Result<std::string>> fetch(Client& client, std::string url) {
  ClientRequest request;
  request.url = url;
  auto answer = co_await client.request(std::move(request));
  if (!answer) co_return answer.error();
  co_return std::move(answer->body);
}

Task<void> watchers(Loop& loop, std::string base, int count, pid_t pid) {
  ClientOptions options;
  options.tls.insecure_skip_verify = true;
  Client client(loop.env, options);
  TaskGroup group(loop.env.executor);
  Counter counter;
  const auto before = co_await fetch(client, base + "/rss");
  for (int i = 0; i < count; ++i) {
    group.spawn("watch", watch(client, base + "/watch", counter));
    while (i - static_cast<int>(counter.watching + counter.failures) > 100) {
      co_await loop.clock.sleep_for(1ms);
    }
  }
  while (counter.watching + counter.failures < static_cast<std::size_t>(count)) {
    co_await loop.clock.sleep_for(1ms);
  }
  const auto after = co_await fetch(client, base + "/rss");
  const double grown = std::stod(*after) - std::stod(*before);
  std::printf("%zu idle watchers: %.1f KB of server memory each, %zu failed\n", counter.watching,
              grown / 1024 / static_cast<double>(counter.watching), counter.failures);
  constexpr int kRounds = 20;
  const double cpu = cpu_of(pid);
  const TimePoint start = loop.clock.now();
  for (int i = 0; i < kRounds; ++i) {
    const std::size_t expected = counter.events + counter.watching;
    co_await fetch(client, base + "/news");
    while (counter.events < expected) co_await loop.clock.sleep_for(1ms);
  }
  const double took = seconds_since(loop.clock, start);
  const double events = static_cast<double>(kRounds) * static_cast<double>(counter.watching);
  std::printf("fan-out of one event to all: %.0f events/s, %.1f us of server CPU each\n",
              events / took, (cpu_of(pid) - cpu) * 1e6 / events);
  group.cancel();
  co_await group.join();
}

int number(int argc, char** argv, int at, int otherwise) {
  return argc > at ? std::atoi(argv[at]) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  const int connections = number(argc, argv, 1, 64);
  const int seconds = number(argc, argv, 2, 5);
  const int watching = number(argc, argv, 3, 2000);
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);

  int pipe[2];
  if (::pipe(pipe) != 0) return 1;
  const pid_t child = ::fork();
  if (child == 0) serve(pipe[1]);
  ::close(pipe[1]);
  std::uint16_t port = 0;
  if (::read(pipe[0], &port, sizeof port) != sizeof port) return 1;
  const std::string base = "https://127.0.0.1:" + std::to_string(port);
  {
    Loop loop;
    TaskGroup group(loop.env.executor);
    group.spawn("requests", small_requests(loop, base, connections, seconds, child));
    loop.io.run();
    loop.io.restart();
    group.spawn("watchers", watchers(loop, base, watching, child));
    loop.io.run();
  }
  ::kill(child, SIGTERM);
  ::waitpid(child, nullptr, 0);
  return 0;
}
