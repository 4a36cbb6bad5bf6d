// `skiff status`, `skiff server remove`, `skiff token`, `skiff encryption`: what is asked of a
// running server from outside.
#include <fmt/format.h>

#include <cstdio>
#include <functional>

#include "commands.hpp"
#include "join.hpp"
#include "options.hpp"
#include "skiff/cli/flags.hpp"
#include "skiff/client/http_client.hpp"
#include "skiff/pki/certificate.hpp"
#include "skiff/pki/seal.hpp"

namespace skiff::app {
namespace {

struct Asked {
  std::string data_dir = default_data_dir();
  std::string kubeconfig;
  std::string server;
  std::string output;
  std::string span = "24h";
  std::string description = "made by skiff token create";
  bool help = false;
  std::vector<std::string> words;
};

using Action = std::function<Task<Result<void>>(Env env, Asked asked)>;

Task<Result<std::shared_ptr<client::HttpClient>>> connect(Env env, Asked asked) {
  std::string path = asked.kubeconfig;
  if (path.empty()) path = asked.data_dir + "/kubeconfig";
  auto access = co_await client::load_kubeconfig(env, path, "");
  if (!access) {
    co_return annotate(access.error(), "no server is known here: give --data-dir or --kubeconfig");
  }
  // Every server's certificate says it, whatever address it is asked at.
  access->tls.server_name = "kubernetes";
  if (!asked.server.empty()) access->server = asked.server;
  co_return std::make_shared<client::HttpClient>(env, std::move(*access));
}

Task<Result<api::Value>> ask(client::HttpClient* client, http::Method method, std::string path,
                             std::string body = "") {
  http::ClientRequest request;
  request.method = method;
  request.url = std::move(path);
  request.timeout = 60s;
  if (!body.empty()) request.headers.add("Content-Type", "application/json");
  request.body = std::move(body);
  const auto answer = co_await client->request(std::move(request));
  if (!answer) co_return answer.error();
  if (answer->status / 100 != 2) {
    co_return client::error_from_answer(answer->status, answer->body);
  }
  co_return api::parse_json(answer->body);
}

std::string lag_of(const api::Value& server) {
  if (server["receivingSnapshot"].as_bool()) return "receiving a snapshot";
  if (server["role"].as_string() == "leader" || !server.has("lag")) return "-";
  if (server["role"].as_string() == "alone") return "-";
  if (!server.has("lastContactMs") && server["lag"].as_int() == 0) return "?";
  return std::to_string(server["lag"].as_int());
}

std::string health_of(const api::Value& server) {
  const std::string& trouble = server["trouble"].as_string();
  if (server["healthy"].as_bool()) return trouble.empty() ? "ok" : trouble;
  return trouble.empty() ? "not heard of" : trouble;
}

bool over_etcd(const api::Value& status) {
  return status["datastore"].as_string().starts_with("http");
}

void print_table(const api::Value& status) {
  std::printf("%-20s %-30s %-8s %-10s %s\n", "SERVER", "ADDRESS", "ROLE", "LAG", "HEALTH");
  for (const api::Value& s : status["servers"].items()) {
    const std::string name = s["name"].as_string() + (s["self"].as_bool() ? " *" : "");
    std::printf("%-20s %-30s %-8s %-10s %s\n", name.c_str(), s["address"].as_string().c_str(),
                s["role"].as_string().c_str(), lag_of(s).c_str(), health_of(s).c_str());
  }
  std::printf("\ndatastore %s, revision %lld, history from %lld; answered by %s (*)\n",
              status["datastore"].as_string().c_str(),
              static_cast<long long>(status["revision"].as_int()),
              static_cast<long long>(status["compacted"].as_int()),
              status["answeredBy"].as_string().c_str());
  if (over_etcd(status) && !status["quorum"].as_bool()) {
    std::printf("NO ETCD: writes fail, reads may be stale.\n");
  } else if (!status["quorum"].as_bool()) {
    std::printf(
        "NO QUORUM: writes fail, reads may be stale. Bring servers back; if they are lost for "
        "good, see skiff server --cluster-reset.\n");
  }
  if (const std::string& trouble = status["trouble"].as_string(); !trouble.empty()) {
    std::printf("trouble: %s\n", trouble.c_str());
  }
}

Task<Result<void>> show_status(Env env, Asked asked) {
  SKIFF_CO_TRY(const auto client, co_await connect(env, asked));
  SKIFF_CO_TRY(const api::Value status,
               co_await ask(client.get(), http::Method::get, "/skiff/v1/status"));
  if (asked.output == "json") {
    std::printf("%s\n", api::to_json(status).c_str());
  } else {
    print_table(status);
  }
  co_return Result<void>();
}

Task<Result<void>> remove_server(Env env, Asked asked) {
  SKIFF_CO_TRY(const auto client, co_await connect(env, asked));
  const std::string name = asked.words[0];
  SKIFF_CO_CHECK(co_await ask(client.get(), http::Method::delete_,
                              "/skiff/v1/servers/" + http::percent_encode(name)));
  std::printf("server %s removed\n", name.c_str());
  co_return Result<void>();
}

Task<Result<void>> create_token(Env env, Asked asked) {
  auto life = parse_span(asked.span);
  if (!life || *life <= Duration::zero()) {
    co_return Error{Code::bad_request, "--ttl " + asked.span + ": write 30m, 24h or 7d"};
  }
  SKIFF_CO_TRY(const auto client, co_await connect(env, asked));
  SKIFF_CO_TRY(const auto ca, pki::Certificate::from_pem(client->access().tls.ca_pem));
  const JoinToken token = make_join_token(*env.random, ca.fingerprint());
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(*life);
  api::Value secret = token_secret(token, env.clock->wall() + micros, asked.description);
  client::Ref ref = client::resources::kSecrets.in("kube-system");
  SKIFF_CO_CHECK(co_await client->create(std::move(ref), std::move(secret)));
  std::printf("%s\n", token.to_string().c_str());
  co_return Result<void>();
}

struct Peer {
  std::string name;
  std::shared_ptr<client::HttpClient> client;
};

// Every server of the cluster: what encrypts is each server's own.
Task<Result<std::vector<Peer>>> all_servers(Env env, Asked asked) {
  SKIFF_CO_TRY(const auto client, co_await connect(env, asked));
  SKIFF_CO_TRY(const api::Value status,
               co_await ask(client.get(), http::Method::get, "/skiff/v1/status"));
  if (over_etcd(status) && !status["quorum"].as_bool()) {
    co_return Error{Code::unavailable,
                    "which servers there are etcd knows, and it does not answer: " +
                        status["trouble"].as_string()};
  }
  std::vector<Peer> out;
  const auto servers = status["servers"].items();
  for (const api::Value& s : servers) {
    if (servers.size() == 1) {
      out.push_back({s["name"].as_string(), client});
      break;
    }
    Asked there = asked;
    there.server = s["address"].as_string();
    SKIFF_CO_TRY(auto other, co_await connect(env, there));
    out.push_back({s["name"].as_string(), std::move(other)});
  }
  co_return out;
}

void print_encryption(const std::string& name, const api::Value& e) {
  std::printf("%s: %s encrypted with key %s, keys %s (%s)\n", name.c_str(),
              e["kinds"].as_string().c_str(), e["encrypting"].as_string().c_str(),
              e["source"].as_string().c_str(), e["from"].as_string().c_str());
  if (!e["done"].as_bool()) {
    std::printf("  rewriting: %lld of %lld objects done\n",
                static_cast<long long>(e["rewritten"].as_int()),
                static_cast<long long>(e["total"].as_int()));
  }
  const auto keys = e["keys"].items();
  for (std::size_t i = 1; i < keys.size(); ++i) {
    const char* state = e["oldKeysNeeded"].as_bool()
                            ? "still needed, for history or for what is not rewritten yet"
                            : "not needed any more: can be removed";
    std::printf("  older key %s: %s\n", keys[i].as_string().c_str(), state);
  }
}

Task<Result<void>> tell_all(std::vector<Peer>* servers, std::string path, std::string body,
                            bool show) {
  for (const Peer& peer : *servers) {
    const http::Method method =
        path.ends_with("/encryption") ? http::Method::get : http::Method::post;
    const auto answer = co_await ask(peer.client.get(), method, path, body);
    if (!answer) co_return annotate(answer.error(), peer.name);
    if (show) print_encryption(peer.name, *answer);
  }
  co_return Result<void>();
}

Task<Result<void>> encryption(Env env, Asked asked) {
  SKIFF_CO_TRY(auto servers, co_await all_servers(env, asked));
  const std::string root = "/skiff/v1/encryption";
  const std::string verb = asked.words[0];
  if (verb == "status") co_return co_await tell_all(&servers, root, "", true);
  if (verb == "reload") co_return co_await tell_all(&servers, root + "/reload", "", true);
  // First all servers can read what it encrypts, then they use it: a server that is away keeps the
  // change from beginning.
  const pki::SealKeys key = pki::SealKeys::generate(*env.random);
  api::Value body = api::Value::object({{"key", key.to_text()}, {"seal", false}});
  std::string text = api::to_json(body);
  SKIFF_CO_CHECK(co_await tell_all(&servers, root + "/keys", std::move(text), false));
  body.set("seal", true);
  text = api::to_json(body);
  co_return co_await tell_all(&servers, root + "/keys", std::move(text), true);
}

Task<void> run(Env env, Asked asked, const char* command, Action action, int* exit_code) {
  const Result<void> done = co_await action(env, asked);
  if (done) co_return;
  std::fprintf(stderr, "skiff %s: %s\n", command, done.error().message.c_str());
  *exit_code = 1;
}

int carry_out(Asked asked, const char* command, Action action) {
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking(1);
  asio::io_context io(1);
  const Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  int exit_code = 0;
  asio::co_spawn(io, run(env, std::move(asked), command, std::move(action), &exit_code),
                 [](std::exception_ptr error) {
                   if (error) std::rethrow_exception(error);
                 });
  io.run();
  return exit_code;
}

void add_common(cli::Flags& flags, Asked& asked) {
  flags.add("data-dir", &asked.data_dir, "DIR", "the server's data directory", 'd');
  flags.add("kubeconfig", &asked.kubeconfig, "FILE", "instead of DIR/kubeconfig");
  flags.add("help", &asked.help, "", "show this", 'h');
}

// Parses; -1: go on.
int parse(cli::Flags& flags, Asked& asked, const std::vector<std::string>& args,
          const char* command, const char* usage, bool (*fits)(const Asked&)) {
  auto rest = flags.parse(args);
  if (!rest) {
    std::fprintf(stderr, "skiff %s: %s\n", command, rest.error().message.c_str());
    return 1;
  }
  asked.words = std::move(*rest);
  if (!asked.help && fits(asked)) return -1;
  std::fprintf(asked.help ? stdout : stderr, "%s\nFlags:\n%s", usage, flags.help().c_str());
  return asked.help ? 0 : 1;
}

}  // namespace

int status_main(std::vector<std::string> args) {
  Asked asked;
  cli::Flags flags;
  add_common(flags, asked);
  flags.add("output", &asked.output, "json", "the whole answer as JSON", 'o');
  const int code = parse(
      flags, asked, args, "status",
      "usage: skiff status        the cluster's servers: roles, lag, health\n",
      [](const Asked& a) { return a.words.empty() && (a.output.empty() || a.output == "json"); });
  return code >= 0 ? code : carry_out(std::move(asked), "status", show_status);
}

int server_remove_main(std::vector<std::string> args) {
  Asked asked;
  cli::Flags flags;
  add_common(flags, asked);
  const int code = parse(flags, asked, args, "server remove",
                         "usage: skiff server remove NAME      takes a server out of the cluster; "
                         "it stops by itself\n",
                         [](const Asked& a) { return a.words.size() == 1; });
  return code >= 0 ? code : carry_out(std::move(asked), "server remove", remove_server);
}

int token_main(std::vector<std::string> args) {
  Asked asked;
  cli::Flags flags;
  add_common(flags, asked);
  flags.add("ttl", &asked.span, "SPAN", "how long it is good (default 24h)");
  flags.add("description", &asked.description, "TEXT", "what it is for");
  const int code =
      parse(flags, asked, args, "token",
            "usage: skiff token create     a token that lets a server join\n\n"
            "Tokens are Secrets in kube-system: kubectl -n kube-system get secrets "
            "--field-selector type=bootstrap.kubernetes.io/token\n",
            [](const Asked& a) { return a.words == std::vector<std::string>{"create"}; });
  return code >= 0 ? code : carry_out(std::move(asked), "token create", create_token);
}

int encryption_main(std::vector<std::string> args) {
  Asked asked;
  cli::Flags flags;
  add_common(flags, asked);
  const int code =
      parse(flags, asked, args, "encryption",
            "usage: skiff encryption status     keys, and how far a change of keys has come\n"
            "       skiff encryption rotate     a new key, and everything encrypted anew with it\n"
            "       skiff encryption reload     read the file or command of the keys again\n",
            [](const Asked& a) {
              return a.words.size() == 1 &&
                     (a.words[0] == "status" || a.words[0] == "rotate" || a.words[0] == "reload");
            });
  return code >= 0 ? code : carry_out(std::move(asked), "encryption", encryption);
}

}  // namespace skiff::app
