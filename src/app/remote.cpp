#include "remote.hpp"

#include <cstdio>

namespace skiff::app {

Task<Result<std::shared_ptr<client::HttpClient>>> connect_remote(Env env, std::string data_dir,
                                                                 std::string kubeconfig) {
  const bool own = kubeconfig.empty();
  if (own) kubeconfig = data_dir + "/kubeconfig";
  auto access = co_await client::load_kubeconfig(env, std::move(kubeconfig), "");
  if (!access) {
    Error e = annotate(access.error(), "no server is known here: give --data-dir or --kubeconfig");
    if (own) e.code = Code::unavailable;
    co_return e;
  }
  co_return std::make_shared<client::HttpClient>(env, std::move(*access));
}

Task<Result<api::Value>> ask_remote(client::HttpClient* client, std::string path) {
  http::ClientRequest request;
  request.url = std::move(path);
  SKIFF_CO_TRY(const auto answer, co_await client->request(std::move(request)));
  if (answer.status / 100 != 2) {
    co_return client::error_from_answer(answer.status, answer.body);
  }
  co_return api::parse_json(answer.body);
}

namespace {

Task<void> run(Env env, std::string name, std::function<Task<Result<void>>(Env)> command,
               int* exit_code) {
  const Result<void> done = co_await command(env);
  if (done) {
    *exit_code = 0;
    co_return;
  }
  std::fprintf(stderr, "skiff %s: %s\n", name.c_str(), done.error().message.c_str());
}

}  // namespace

int run_command(const std::string& name, const std::function<Task<Result<void>>(Env)>& command) {
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking(1);
  asio::io_context io(1);
  const Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  int exit_code = 1;
  asio::co_spawn(io, run(env, name, command, &exit_code), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return exit_code;
}

}  // namespace skiff::app
