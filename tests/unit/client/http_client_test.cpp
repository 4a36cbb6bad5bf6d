#include "skiff/client/http_client.hpp"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "skiff/http/server.hpp"

using namespace skiff;
using api::Value;
using client::HttpClient;
using client::ListOptions;
using client::Ref;
using client::WatchEvent;

namespace {

// Notes what was asked and answers what the test has laid out.
class Canned final : public http::Handler {
 public:
  struct Answer {
    int status = 200;
    std::string body;
    std::vector<std::string> more;  // parts of a stream
    bool broken = false;
  };

  Task<void> handle(http::Request request, http::Exchange& exchange) override {
    asked = request.method_name + " " + request.target;
    body = request.body;
    content_type = std::string(request.headers.get("Content-Type"));
    authorization = std::string(request.headers.get("Authorization"));
    http::Response response =
        http::Response::make(answer.status, "application/json", {http::Buffer(answer.body)});
    if (answer.more.empty()) {
      exchange.respond(std::move(response));
      co_return;
    }
    (void)co_await exchange.start(std::move(response));
    for (const std::string& part : answer.more) {
      http::Buffers buffers;
      buffers.emplace_back(part);
      (void)co_await exchange.write(std::move(buffers));
    }
    if (answer.broken) exchange.abort();
  }

  Answer answer;
  std::string asked;
  std::string body;
  std::string content_type;
  std::string authorization;
};

struct Fixture {
  asio::io_context io{1};
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{1};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  Canned canned;
  http::Server server{env, canned, options()};
  std::unique_ptr<HttpClient> client;

  static http::ServerOptions options() {
    http::ServerOptions out;
    out.address = "127.0.0.1";
    return out;
  }

  Fixture() {
    REQUIRE(server.listen().has_value());
    client::ClusterAccess access;
    access.server = "http://127.0.0.1:" + std::to_string(server.port());
    access.token = "secret";
    client = std::make_unique<HttpClient>(env, access);
  }

  void run(Task<void> body) {
    TaskGroup group(io.get_executor());
    group.spawn("test", finish(std::move(body)));
    io.restart();
    io.run_for(20s);
    REQUIRE(group.size() == 0);
  }
  Task<void> finish(Task<void> body) {
    co_await std::move(body);
    co_await server.stop(0s);
  }
};

const Ref kDeployments = client::resources::kDeployments;

constexpr const char* kNotFound =
    R"({"kind":"Status","status":"Failure","code":404,"reason":"NotFound","message":"gone",
        "details":{"name":"web","kind":"deployments","causes":[{"reason":"R","field":"f"}]}})";

}  // namespace

TEST_CASE("references become paths") {
  struct Row {
    Ref ref;
    const char* want;
  };
  const Row rows[] = {
      {client::resources::kPods, "/api/v1/pods"},
      {client::resources::kPods.in("a"), "/api/v1/namespaces/a/pods"},
      {client::resources::kNamespaces.at("", "a").sub("finalize"), "/api/v1/namespaces/a/finalize"},
      {kDeployments.at("a", "web").sub("scale"),
       "/apis/apps/v1/namespaces/a/deployments/web/scale"},
  };
  for (const Row& row : rows) CHECK(client::path_of(row.ref) == row.want);
}

TEST_CASE("calls say what they mean, with credentials") {
  Fixture f;
  auto body = [&]() -> Task<void> {
    f.canned.answer.body = R"({"kind":"Deployment","metadata":{"name":"web"}})";
    const Ref web = kDeployments.at("a", "web");
    const auto got = co_await f.client->get(web);
    REQUIRE(got.has_value());
    CHECK((*got)->name() == "web");
    CHECK(f.canned.asked == "GET /apis/apps/v1/namespaces/a/deployments/web");
    CHECK(f.canned.authorization == "Bearer secret");

    Value document = Value::object({{"x", 1}});
    client::WriteOptions write;
    write.dry_run = true;
    write.field_manager = "me";
    (void)co_await f.client->create(web, document, write);
    CHECK(f.canned.asked ==
          "POST /apis/apps/v1/namespaces/a/deployments?dryRun=All&fieldManager=me");
    CHECK(f.canned.body == R"({"x":1})");
    (void)co_await f.client->update(web.sub("status"), document);
    CHECK(f.canned.asked == "PUT /apis/apps/v1/namespaces/a/deployments/web/status");
    (void)co_await f.client->patch(web, api::PatchType::strategic, document);
    CHECK(f.canned.content_type == "application/strategic-merge-patch+json");
    client::DeleteOptions del;
    del.grace_period_seconds = 0;
    del.propagation_policy = "Foreground";
    del.uid = "u";
    (void)co_await f.client->remove(web, del);
    CHECK(f.canned.asked == "DELETE /apis/apps/v1/namespaces/a/deployments/web");
    const Value sent = *api::parse_json(f.canned.body);
    CHECK(sent["gracePeriodSeconds"].as_int(-1) == 0);
    CHECK(sent["propagationPolicy"].as_string() == "Foreground");
    CHECK(sent["preconditions"]["uid"].as_string() == "u");
  };
  f.run(body());
}

TEST_CASE("refusals come back as errors with their details") {
  Fixture f;
  auto body = [&]() -> Task<void> {
    f.canned.answer = {404, kNotFound, {}};
    const auto got = co_await f.client->get(kDeployments.at("a", "web"));
    REQUIRE(got.has_error());
    CHECK(got.error().code == Code::not_found);
    CHECK(got.error().message == "gone");
    REQUIRE(got.error().details != nullptr);
    CHECK(got.error().details->causes.at(0).field == "f");
    f.canned.answer = {503, "busy", {}};
    ListOptions options;
    const auto watched = co_await f.client->watch(kDeployments, options);
    REQUIRE(watched.has_error());
    CHECK(watched.error().code == Code::unavailable);
    CHECK(watched.error().message.ends_with("503: busy"));
  };
  f.run(body());
}

TEST_CASE("items of a list get the kind they lack") {
  Fixture f;
  auto body = [&]() -> Task<void> {
    f.canned.answer.body = R"({"kind":"DeploymentList","apiVersion":"apps/v1",
      "metadata":{"resourceVersion":"7","continue":"tok","remainingItemCount":3},
      "items":[{"metadata":{"name":"web"}}]})";
    ListOptions options;
    options.label_selector = "a=b";
    options.limit = 1;
    const auto list = co_await f.client->list(kDeployments, options);
    REQUIRE(list.has_value());
    CHECK(f.canned.asked == "GET /apis/apps/v1/deployments?labelSelector=a%3Db&limit=1");
    CHECK(list->resource_version == "7");
    CHECK(list->continue_token == "tok");
    CHECK(list->remaining == 3);
    REQUIRE(list->items.size() == 1);
    CHECK(list->items[0]->kind() == "Deployment");
    CHECK(list->items[0]->api_version() == "apps/v1");
  };
  f.run(body());
}

TEST_CASE("a watch reads lines however they are cut") {
  Fixture f;
  auto body = [&]() -> Task<void> {
    const std::string one =
        R"({"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"x","resourceVersion":"5"}}})";
    const std::string two =
        R"({"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}})";
    const std::string gone =
        R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})";
    f.canned.answer.more = {one.substr(0, 20), one.substr(20) + "\n" + two, "\n", gone + "\n"};
    ListOptions options;
    options.resource_version = "4";
    auto watch = co_await f.client->watch(client::resources::kPods, options);
    REQUIRE(watch.has_value());
    CHECK(f.canned.asked ==
          "GET /api/v1/pods?resourceVersion=4&watch=true&allowWatchBookmarks=true");
    std::vector<WatchEvent> events;
    std::optional<Error> end;
    while (!end) {
      auto next = co_await (*watch)->next();
      if (!next) {
        end = next.error();
      } else {
        events.insert(events.end(), next->begin(), next->end());
      }
    }
    REQUIRE(events.size() == 2);
    CHECK(events[0].type == WatchEvent::Type::added);
    CHECK(events[0].object->name() == "x");
    CHECK(events[0].revision == 5);
    CHECK(events[1].type == WatchEvent::Type::bookmark);
    CHECK(end->code == Code::expired);
  };
  f.run(body());
}

TEST_CASE("a watch that ends or breaks can be resumed") {
  for (const bool broken : {false, true}) {
    Fixture f;
    auto body = [&]() -> Task<void> {
      f.canned.answer.more = {"\n"};
      f.canned.answer.broken = broken;
      ListOptions options;
      auto watch = co_await f.client->watch(client::resources::kPods, options);
      REQUIRE(watch.has_value());
      const auto next = co_await (*watch)->next();
      REQUIRE(next.has_error());
      CHECK(next.error().code == Code::unavailable);
    };
    f.run(body());
  }
}

TEST_CASE("a batch keeps the verdicts in order") {
  Fixture f;
  auto body = [&]() -> Task<void> {
    f.canned.answer = {
        409, R"({"kind":"Status","code":409,"reason":"Conflict","message":"old"})", {}};
    std::vector<client::Write> writes(20);
    for (client::Write& write : writes) write.ref = kDeployments.in("a");
    const auto results = co_await f.client->batch(std::move(writes));
    REQUIRE(results.size() == 20);
    for (const auto& result : results) CHECK(result.error().code == Code::conflict);
  };
  f.run(body());
}

TEST_CASE("kubeconfigs") {
  namespace fs = std::filesystem;
  const fs::path dir =
      fs::temp_directory_path() / ("skiff-kubeconfig-" + std::to_string(::getpid()));
  fs::create_directories(dir);
  std::ofstream(dir / "client.key") << "KEY";
  std::ofstream(dir / "config") << R"(
apiVersion: v1
kind: Config
current-context: main
clusters:
- name: c1
  cluster: {server: "https://host:6443/", certificate-authority-data: Q0E=}
contexts:
- {name: main, context: {cluster: c1, user: u1, namespace: shop}}
- {name: plugin, context: {cluster: c1, user: u2}}
- {name: lost, context: {cluster: nowhere, user: u1}}
users:
- name: u1
  user: {client-certificate-data: Q0VSVA==, client-key: client.key, token: t}
- name: u2
  user: {exec: {command: login}}
)";
  Fixture f;
  auto body = [&]() -> Task<void> {
    const std::string path = (dir / "config").string();
    const auto access = co_await client::load_kubeconfig(f.env, path, "");
    REQUIRE(access.has_value());
    CHECK(access->server == "https://host:6443");
    CHECK(access->ns == "shop");
    CHECK(access->tls.ca_pem == "CA");
    CHECK(access->tls.identity.certificate_pem == "CERT");
    CHECK(access->tls.identity.key_pem == "KEY");
    CHECK(access->token == "t");
    const auto plugin = co_await client::load_kubeconfig(f.env, path, "plugin");
    REQUIRE(plugin.has_error());
    CHECK(plugin.error().message.find("exec") != std::string::npos);
    const auto lost = co_await client::load_kubeconfig(f.env, path, "lost");
    CHECK(lost.error().code == Code::not_found);
    const auto none = co_await client::load_kubeconfig(f.env, path, "none");
    CHECK(none.error().message.find("no context \"none\"") != std::string::npos);
    const auto missing = co_await client::load_kubeconfig(f.env, path + "x", "");
    CHECK(missing.error().code == Code::not_found);
  };
  f.run(body());
  fs::remove_all(dir);
}
