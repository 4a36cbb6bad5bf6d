// Not a test but a tool: `test_apiserver "[.serve]"` serves the API on a loopback port until it is
// killed, and writes a kubeconfig where SKIFF_SERVE_KUBECONFIG says, to try real clients on.
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <fstream>

#include "skiff/apiserver/apiserver.hpp"
#include "skiff/pki/certificate.hpp"
#include "skiff/registry/direct_client.hpp"

namespace skiff {
namespace {

const char* setting(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value ? value : fallback;
}

std::string kubeconfig(const pki::CertificateAuthority& ca, const pki::KeyPair& admin, int port) {
  const auto data = [](const std::string& pem) { return pki::base64_encode(pem); };
  return "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  "
         "cluster:\n"
         "    server: https://127.0.0.1:" +
         std::to_string(port) +
         "\n    certificate-authority-data: " + data(ca.key_pair().certificate_pem) +
         "\nusers:\n- name: test\n  user:\n    client-certificate-data: " +
         data(admin.certificate_pem) + "\n    client-key-data: " + data(admin.key_pem) +
         "\ncontexts:\n- name: test\n  context: {cluster: test, user: test}\n";
}

// What the service account controller does, as far as Pods need it.
Task<void> make_accounts(registry::DirectClient* client) {
  client::Ref namespaces = client::resources::kNamespaces;
  client::ListOptions everything;
  auto stream = co_await client->watch(std::move(namespaces), std::move(everything));
  while (true) {
    auto events = co_await (*stream)->next();
    if (!events) co_return;
    for (const auto& e : *events) {
      if (e.type != client::WatchEvent::Type::added) continue;
      api::Value account =
          api::Value::object({{"metadata", api::Value::object({{"name", "default"}})}});
      client::Ref ref = client::resources::kServiceAccounts.in(e.object->name());
      client::WriteOptions options;
      co_await client->create(std::move(ref), std::move(account), std::move(options));
    }
  }
}

Task<void> serve(Env env, TaskGroup* group) {
  std::unique_ptr<store::Log> log = store::make_memory_log();
  const std::string path = setting("SKIFF_SERVE_DB", "");
  if (!path.empty()) {
    store::SqliteOptions sqlite;
    sqlite.path = path;
    log = std::move(store::open_sqlite_log(env, sqlite).value());
  }
  store::StoreOptions store_options;
  auto opened = co_await store::Store::open(env, std::move(log), store_options);
  auto store = std::move(opened.value());
  const auto ca = pki::CertificateAuthority::create(*env.clock, *env.random, "test-ca");
  pki::LeafOptions server_leaf;
  server_leaf.subject.common_name = "kube-apiserver";
  server_leaf.ip_addresses = {"127.0.0.1"};
  server_leaf.server = true;
  const pki::KeyPair server_pair = ca.issue(*env.clock, *env.random, server_leaf).value();
  pki::LeafOptions admin_leaf;
  admin_leaf.subject = {"kubernetes-admin", {"system:masters"}};
  admin_leaf.client = true;
  const pki::KeyPair admin = ca.issue(*env.clock, *env.random, admin_leaf).value();

  apiserver::TokenOptions token_options{pki::PrivateKey::generate(*env.random)};
  apiserver::ServiceAccountTokens tokens(env, std::move(token_options));
  registry::Options options;
  options.tokens = &tokens;
  options.advertise_address = "127.0.0.1";
  registry::Registry registry(env, *store, options);
  (co_await registry.start(*group)).value();
  registry::DirectClient client(registry, "test");
  group->spawn("accounts", make_accounts(&client));

  apiserver::Options api_options;
  api_options.static_tokens.push_back({"admin", {"admin", "", {"system:masters"}, {}}});
  apiserver::ApiServer api(env, registry, &tokens, std::move(api_options));
  http::ServerOptions server_options;
  server_options.address = "127.0.0.1";
  server_options.port = static_cast<std::uint16_t>(std::atoi(setting("SKIFF_SERVE_PORT", "0")));
  server_options.tls.emplace();
  server_options.tls->identity = {server_pair.certificate_pem, server_pair.key_pem};
  server_options.tls->client_ca_pem = ca.key_pair().certificate_pem;
  server_options.format_refusal = apiserver::ApiServer::format_refusal;
  http::Server server(env, api, std::move(server_options));
  server.listen().value();
  api.set_ready();
  std::ofstream(setting("SKIFF_SERVE_KUBECONFIG", "kubeconfig"))
      << kubeconfig(ca, admin, server.port());
  std::fprintf(stderr, "serving on port %d\n", server.port());
  co_await env.clock->sleep_for(std::chrono::hours(24));
}

}  // namespace

TEST_CASE("serve until killed", "[.serve]") {
  asio::io_context io;
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking(2);
  TaskGroup group(io.get_executor());
  const Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  group.spawn("serve", serve(env, &group));
  io.run();
}

}  // namespace skiff
