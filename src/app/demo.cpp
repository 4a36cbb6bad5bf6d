#include "demo.hpp"

#include <netdb.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>

#include "skiff/cli/flags.hpp"
#include "skiff/http/client.hpp"
#include "skiff/http/server.hpp"

namespace skiff::app {
namespace {

constexpr Duration kDrain = 1500ms;  // how long SIGTERM leaves for load balancers to look away

std::string host_name() {
  utsname names{};
  ::uname(&names);
  return names.nodename;
}

struct Settings {
  std::int64_t port = 8080;
  std::string message;
  std::int64_t ready_after_ms = 0;
  bool help = false;
};

const char* kPaths =
    "GET  /             this pod's host name\n"
    "GET  /healthz      ok, or 500 after /fail\n"
    "GET  /readyz       ok once ready and until it stops\n"
    "ANY  /echo         method, path, headers and body as they came\n"
    "GET  /env          environment variables\n"
    "GET  /delay?ms=N   answers after N milliseconds\n"
    "GET  /status?code=N answers with that status\n"
    "GET  /dns?name=X   looks X up\n"
    "GET  /get?url=U    fetches U and shows the answer\n"
    "GET  /burn?ms=N    keeps one core busy\n"
    "GET  /memory?mb=N  holds N MB from now on\n"
    "POST /fail         makes /healthz fail\n"
    "POST /exit?code=N  ends the process\n";

std::int64_t number(const http::Query& query, const char* name, std::int64_t fallback,
                    std::int64_t max) {
  const std::string_view text = query.get(name);
  std::int64_t value = fallback;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return std::clamp<std::int64_t>(value, 0, max);
}

std::string look_up(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(name.c_str(), nullptr, &hints, &list);
  if (error != 0) return name + ": " + ::gai_strerror(error) + "\n";
  std::string out;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    char text[NI_MAXHOST];
    if (::getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) ==
        0) {
      out += std::string(text) + "\n";
    }
  }
  ::freeaddrinfo(list);
  return out;
}

class Demo final : public http::Handler {
 public:
  Demo(Env env, Settings settings, asio::io_context& io)
      : env_(env), settings_(std::move(settings)), io_(io), client_(env), name_(host_name()) {}

  void stop_being_ready() { stopping_ = true; }

  Task<void> handle(http::Request request, http::Exchange& exchange) override {
    http::Response response = co_await answer(std::move(request));
    exchange.respond(std::move(response));
  }

 private:
  Task<http::Response> answer(http::Request request) {
    const std::string& path = request.path;
    if (path == "/") {
      const std::string& text = settings_.message;
      co_return http::Response::text(200, (text.empty() ? "" : text + " ") + name_ + "\n");
    }
    if (path == "/healthz" || path == "/livez") {
      co_return http::Response::text(failed_ ? 500 : 200, failed_ ? "failed\n" : "ok\n");
    }
    if (path == "/readyz") {
      const bool ready = !stopping_ && env_.clock->now() - started_ >=
                                           std::chrono::milliseconds(settings_.ready_after_ms);
      co_return http::Response::text(ready ? 200 : 503, ready ? "ok\n" : "not ready\n");
    }
    if (path == "/echo") co_return http::Response::text(200, echo(request));
    if (path == "/env") co_return http::Response::text(200, environment());
    if (path == "/fail") {
      failed_ = true;
      co_return http::Response::text(200, "healthz fails from now on\n");
    }
    if (path == "/status") {
      const auto code = static_cast<int>(number(request.query, "code", 200, 599));
      co_return http::Response::text(std::max(code, 200), "as you wish\n");
    }
    if (path == "/delay") {
      co_await env_.clock->sleep_for(
          std::chrono::milliseconds(number(request.query, "ms", 1000, 600'000)));
      co_return http::Response::text(200, name_ + "\n");
    }
    co_return co_await tools(std::move(request));
  }

  Task<http::Response> tools(http::Request request) {
    if (request.path == "/dns") {
      auto run = [name = std::string(request.query.get("name"))] { return look_up(name); };
      co_return http::Response::text(200, co_await env_.blocking->run(std::move(run)));
    }
    if (request.path == "/get") {
      http::ClientRequest get;
      get.url = std::string(request.query.get("url"));
      const auto result = co_await client_.request(std::move(get));
      if (!result) co_return http::Response::text(502, result.error().message + "\n");
      co_return http::Response::text(result->status, result->body);
    }
    if (request.path == "/burn") {
      auto burn = [ms = number(request.query, "ms", 1000, 600'000)] {
        RealClock clock;
        const TimePoint end = clock.now() + std::chrono::milliseconds(ms);
        std::uint64_t rounds = 0;
        while (clock.now() < end) ++rounds;
        return rounds;
      };
      const std::uint64_t rounds = co_await env_.blocking->run(std::move(burn));
      co_return http::Response::text(200, "burnt " + std::to_string(rounds) + " rounds\n");
    }
    if (request.path == "/memory") {
      const auto mb = static_cast<std::size_t>(number(request.query, "mb", 0, 1 << 20));
      ballast_.assign(mb << 20U, 'x');
      co_return http::Response::text(200, "holding " + std::to_string(mb) + " MB\n");
    }
    if (request.path == "/exit") {
      exit_code_ = static_cast<int>(number(request.query, "code", 0, 255));
      asio::post(io_, [code = exit_code_] { std::exit(code); });
      co_return http::Response::text(200, "bye\n");
    }
    co_return http::Response::text(404, std::string("no such path; there are:\n") + kPaths);
  }

  static std::string echo(const http::Request& request) {
    std::string out = request.method_name + " " + request.target + "\n";
    for (const auto& h : request.headers) out += h.name + ": " + h.value + "\n";
    return out + "\n" + request.body;
  }

  static std::string environment() {
    std::string out;
    for (char** e = environ; *e != nullptr; ++e) out += std::string(*e) + "\n";
    return out;
  }

  Env env_;
  Settings settings_;
  asio::io_context& io_;
  http::Client client_;
  std::string name_;
  TimePoint started_ = env_.clock->now();
  bool failed_ = false;
  bool stopping_ = false;
  int exit_code_ = 0;
  std::string ballast_;
};

struct Program {
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{2};
  asio::io_context io{1};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
};

Task<void> serve(Program* program, Settings settings, int* exit_code) {
  Demo demo(program->env, settings, program->io);
  http::ServerOptions options;
  options.port = static_cast<std::uint16_t>(settings.port);
  options.port_flag = "--port";
  http::Server server(program->env, demo, std::move(options));
  if (const auto listening = server.listen(); !listening) {
    std::fprintf(stderr, "skiff demo: %s\n", listening.error().message.c_str());
    *exit_code = 1;
    co_return;
  }
  std::printf("listening on port %d\n", static_cast<int>(server.port()));
  std::fflush(stdout);
  asio::signal_set signals(program->env.executor, SIGINT, SIGTERM);
  co_await signals.async_wait(asio::use_awaitable);
  std::printf("stopping\n");
  std::fflush(stdout);
  demo.stop_being_ready();
  // Connections still come in until every node knows that this pod is leaving.
  co_await program->clock.sleep_for(kDrain);
  co_await server.stop(5s);
}

Task<void> fetch(Program* program, std::string url, int* exit_code) {
  http::Client client(program->env);
  http::ClientRequest get;
  get.url = std::move(url);
  const auto result = co_await client.request(std::move(get));
  if (!result) {
    std::fprintf(stderr, "skiff demo: %s\n", result.error().message.c_str());
    *exit_code = 1;
    co_return;
  }
  std::fwrite(result->body.data(), 1, result->body.size(), stdout);
  if (result->status >= 400) *exit_code = 1;
}

int run(Program& program, Task<void> task) {
  asio::co_spawn(program.io, std::move(task), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  program.io.run();
  return 0;
}

}  // namespace

int demo_main(std::vector<std::string> args) {
  Settings settings;
  cli::Flags flags;
  flags.add("port", &settings.port, "PORT", "port to listen on (default 8080)");
  flags.add("message", &settings.message, "TEXT", "shown before the host name");
  flags.add("ready-after-ms", &settings.ready_after_ms, "N", "/readyz fails until then");
  flags.add("help", &settings.help, "", "show this", 'h');
  const auto rest = flags.parse(args);
  if (!rest) {
    std::fprintf(stderr, "skiff demo: %s\n", rest.error().message.c_str());
    return 1;
  }
  if (settings.help) {
    std::printf("usage: skiff demo [FLAGS] | get URL | dns NAME\n\n%s\nPaths:\n%s",
                flags.help().c_str(), kPaths);
    return 0;
  }
  Program program;
  int exit_code = 0;
  if (rest->size() == 2 && rest->front() == "get") {
    run(program, fetch(&program, rest->back(), &exit_code));
  } else if (rest->size() == 2 && rest->front() == "dns") {
    std::fputs(look_up(rest->back()).c_str(), stdout);
  } else if (rest->empty()) {
    run(program, serve(&program, settings, &exit_code));
  } else {
    std::fprintf(stderr, "skiff demo: unknown tool \"%s\"; --help lists them\n",
                 rest->front().c_str());
    exit_code = 1;
  }
  return exit_code;
}

}  // namespace skiff::app
