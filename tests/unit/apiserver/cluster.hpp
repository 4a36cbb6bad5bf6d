// A whole API in memory: store, registry and API server on one loop, without HTTP.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "skiff/apiserver/apiserver.hpp"
#include "skiff/registry/direct_client.hpp"

namespace skiff::test {

// Collects what a handler sends.
class Recorder final : public http::Exchange {
 public:
  void respond(http::Response response) override {
    answered_ = true;
    status = response.status;
    headers = std::move(response.headers);
    body += http::join(response.body);
  }
  Task<Result<void>> start(http::Response response) override {
    respond(std::move(response));
    co_return Result<void>();
  }
  Task<Result<void>> write(http::Buffers part) override {
    body += http::join(part);
    co_return Result<void>();
  }
  void abort() noexcept override { aborted = true; }
  Task<Result<http::ByteStream*>> upgrade(http::Headers) override {
    co_return Error{Code::internal, "no upgrades here"};
  }
  bool answered() const noexcept override { return answered_; }

  int status = 0;
  http::Headers headers;
  std::string body;
  bool aborted = false;

 private:
  bool answered_ = false;
};

struct Call {
  std::string method = "GET";
  std::string target;  // path and query
  std::string body;
  http::Headers headers;
};

class Cluster {
 public:
  Cluster() : env_{io_.get_executor(), &clock_, &random_, &metrics_, &blocking_} {
    run(boot());
    api_->set_ready();
  }
  ~Cluster() {
    group_.cancel();
    run(group_.join());
    run(close());
  }

  // As system:masters unless `call` has an Authorization header or `user` is empty.
  Recorder ask(Call call, const std::string& user = "admin") {
    Recorder out;
    run(serve(std::move(call), user, &out));
    return out;
  }
  Recorder get(std::string target) { return ask({.target = std::move(target)}); }
  Recorder send(std::string method, std::string target, std::string body,
                std::string type = "application/json") {
    Call call{.method = std::move(method), .target = std::move(target), .body = std::move(body)};
    call.headers.add("Content-Type", std::move(type));
    return ask(std::move(call));
  }

  // Runs the loop until `task` is done.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> out;
    std::exception_ptr error;
    asio::co_spawn(io_, std::move(task), [&](std::exception_ptr e, T value) {
      error = e;
      out.emplace(std::move(value));
    });
    while (!out && !error) step();
    if (error) std::rethrow_exception(error);
    return std::move(*out);
  }
  void run(Task<void> task) {
    bool done = false;
    std::exception_ptr error;
    asio::co_spawn(io_, std::move(task), [&](std::exception_ptr e) {
      error = e;
      done = true;
    });
    while (!done) step();
    if (error) std::rethrow_exception(error);
  }

  // Lets `d` pass, with everything that happens meanwhile.
  void advance(Duration d) { clock_.run_for(io_, d); }

  asio::io_context& io() { return io_; }
  registry::Registry& registry() { return *registry_; }
  registry::DirectClient& client() { return *client_; }
  apiserver::ServiceAccountTokens& tokens() { return *tokens_; }
  apiserver::ApiServer& api() { return *api_; }
  Env& env() { return env_; }
  VirtualClock& clock() { return clock_; }
  store::Store& store() { return *store_; }

 private:
  // One handler, or time moves to whoever sleeps first.
  void step() {
    io_.restart();
    if (io_.poll_one() == 0) clock_.advance_to_next();
  }
  Task<void> boot() {
    store::StoreOptions store_options;
    auto opened = co_await store::Store::open(env_, store::make_memory_log(), store_options);
    store_ = std::move(opened.value());
    apiserver::TokenOptions token_options{pki::PrivateKey::generate(random_)};
    tokens_ = std::make_unique<apiserver::ServiceAccountTokens>(env_, std::move(token_options));
    registry::Options options;
    options.tokens = tokens_.get();
    options.advertise_address = "192.0.2.10";
    registry_ = std::make_unique<registry::Registry>(env_, *store_, options);
    const auto started = co_await registry_->start(group_);
    started.value();
    client_ = std::make_unique<registry::DirectClient>(*registry_, "test");
    apiserver::Options api_options;
    api_options.static_tokens.push_back({"admin", {"admin", "", {"system:masters"}, {}}});
    api_options.static_tokens.push_back({"jane", {"jane", "", {"developers"}, {}}});
    api_ = std::make_unique<apiserver::ApiServer>(env_, *registry_, tokens_.get(),
                                                  std::move(api_options));
  }
  Task<void> close() { co_await store_->close(); }

  Task<void> serve(Call call, std::string user, Recorder* out) {
    http::Request request;
    request.method = http::parse_method(call.method);
    request.method_name = call.method;
    request.target = call.target;
    const auto question = call.target.find('?');
    request.path = http::percent_decode(call.target.substr(0, question)).value();
    if (question != std::string::npos) {
      request.query = http::Query::parse(call.target.substr(question + 1)).value();
    }
    request.headers = std::move(call.headers);
    if (!user.empty() && !request.headers.has("Authorization")) {
      request.headers.add("Authorization", "Bearer " + user);
    }
    request.body = std::move(call.body);
    co_await api_->handle(std::move(request), *out);
  }

  asio::io_context io_;
  VirtualClock clock_;
  SeededRandom random_{7};
  metrics::Registry metrics_;
  BlockingPool blocking_{0};
  Env env_;
  TaskGroup group_{io_.get_executor()};
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<apiserver::ServiceAccountTokens> tokens_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<registry::DirectClient> client_;
  std::unique_ptr<apiserver::ApiServer> api_;
};

}  // namespace skiff::test
