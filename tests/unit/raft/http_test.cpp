// Servers over real loopback TLS and real disks.
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>

#include "cluster.hpp"
#include "skiff/pki/certificate.hpp"
#include "skiff/raft/http_network.hpp"

using namespace skiff;
using namespace skiff::raft;
namespace fs = std::filesystem;

namespace {

struct Real {
  asio::io_context io;
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{1};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  TaskGroup tasks{io.get_executor()};

  template <class T>
  T wait(Task<T> task) {
    std::optional<T> out;
    auto run = [](Task<T> t, std::optional<T>& o) -> Task<void> {
      o.emplace(co_await std::move(t));
    };
    tasks.spawn("waited for", run(std::move(task), out));
    while (!out) io.run_one();
    return std::move(*out);
  }
  void wait_done(Task<void> task) {
    auto run = [](Task<void> t) -> Task<bool> {
      co_await std::move(t);
      co_return true;
    };
    (void)wait(run(std::move(task)));
  }
  template <class F>
  bool until(F condition, Duration limit = 20s) {
    const TimePoint end = clock.now() + limit;
    while (!condition() && clock.now() < end) {
      io.run_one_for(std::chrono::milliseconds(5));
      io.restart();
    }
    return condition();
  }
};

struct Peer {
  std::unique_ptr<HttpNetwork> network;
  std::unique_ptr<http::Server> server;
  std::unique_ptr<Entries> entries;
  std::unique_ptr<RaftLog> log;
  std::string address;
};

struct Fixture {
  Real real;
  pki::CertificateAuthority ca =
      pki::CertificateAuthority::create(real.clock, real.random, "skiff-test");
  fs::path path = fs::temp_directory_path() / ("skiff-raft-http-" + std::to_string(::getpid()));
  std::vector<std::unique_ptr<Peer>> peers;

  Fixture() { fs::remove_all(path); }
  ~Fixture() {
    for (auto& peer : peers) {
      (void)real.wait(peer->log->close());
      peer->log.reset();
    }
    for (auto& peer : peers) {
      real.wait_done(peer->network->stop());
      real.wait_done(peer->server->stop(0s));
    }
    fs::remove_all(path);
  }
  http::TlsIdentity identity(const std::string& organization) {
    pki::LeafOptions leaf;
    leaf.subject.common_name = "server";
    if (!organization.empty()) leaf.subject.organizations = {organization};
    leaf.ip_addresses = {"127.0.0.1"};
    leaf.server = true;
    leaf.client = true;
    auto pair = ca.issue(real.clock, real.random, leaf);
    REQUIRE(pair.has_value());
    return {pair->certificate_pem, pair->key_pem};
  }
  http::TlsClientOptions client(const std::string& organization) {
    http::TlsClientOptions tls;
    tls.ca_pem = ca.certificate().to_pem();
    if (organization != "none") tls.identity = identity(organization);
    return tls;
  }
  Peer& start(Id id, Start how) {
    auto peer = std::make_unique<Peer>();
    HttpNetworkOptions options;
    options.tls = client("skiff:servers");
    options.max_post_bytes = 64U << 10U;
    peer->network = make_http_network(real.env, options);
    http::ServerOptions server;
    server.address = "127.0.0.1";
    server.tls.emplace();
    server.tls->identity = identity("skiff:servers");
    server.tls->client_ca_pem = ca.certificate().to_pem();
    peer->server = std::make_unique<http::Server>(real.env, peer->network->handler(), server);
    REQUIRE(peer->server->listen().has_value());
    peer->address = "https://127.0.0.1:" + std::to_string(peer->server->port());
    fs::create_directories(path);
    EntriesOptions disk;
    disk.directory = (path / std::to_string(id)).string();
    disk.segment_bytes = 256U << 10U;
    peer->entries = std::move(*open_raft_entries(real.env, disk));
    RaftOptions raft;
    raft.id = id;
    raft.address = peer->address;
    raft.start = how;
    raft.inner = std::make_unique<raft::test::FakeInner>(std::make_shared<raft::test::Disk>());
    raft.network = peer->network.get();
    raft.entries = peer->entries.get();
    peer->log = std::move(*make_raft_log(real.env, std::move(raft)));
    const auto recovered = real.wait(peer->log->replay([](store::Record) {}));
    INFO((recovered ? "" : recovered.error().message));
    REQUIRE(recovered.has_value());
    peers.push_back(std::move(peer));
    return *peers.back();
  }
};

store::Records record(store::Revision revision, std::size_t bytes) {
  auto item = std::make_shared<store::Item>();
  item->key = "k" + std::to_string(revision);
  item->value.assign(bytes, 'v');
  item->modified = revision;
  store::Record r;
  r.item = item;
  return std::make_shared<const std::vector<store::Record>>(1, r);
}

}  // namespace

TEST_CASE("frames over TLS: strangers and garbage are refused", "[raft][http]") {
  Fixture f;
  Peer& first = f.start(1, Start::bootstrap);
  const auto post = [&](const std::string& organization, std::string target, std::string body) {
    http::ClientOptions options;
    options.tls = f.client(organization);
    http::Client client(f.real.env, options);
    http::ClientRequest request;
    request.method = http::Method::post;
    request.url = first.address + target;
    request.body = std::move(body);
    const auto response = f.real.wait(client.request(std::move(request)));
    REQUIRE(response.has_value());
    return response->status;
  };
  const std::string path(kRaftPath);
  CHECK(post("none", path, "x") == 403);
  CHECK(post("system:masters", path, "x") == 403);
  CHECK(post("skiff:servers", path, "garbage") == 400);
  CHECK(post("skiff:servers", path, "") == 400);
  CHECK(post("skiff:servers", path + "/other", "x") == 404);
  const std::string frame("\x01\x04\0\0\0abcd", 9);
  CHECK(post("skiff:servers", path, frame) == 204);  // the frame is garbage, the post is not
  CHECK(f.real.until([&] { return first.log->decider() == store::Decider::here; }));
}

TEST_CASE("three servers over TLS, with large values", "[raft][http]") {
  Fixture f;
  Peer& first = f.start(1, Start::bootstrap);
  REQUIRE(f.real.until([&] { return first.log->decider() == store::Decider::here; }));
  for (Id id = 2; id <= 3; ++id) {
    Peer& next = f.start(id, Start::join);
    Server server;
    server.id = id;
    server.address = next.address;
    const auto added = f.real.wait(first.log->add(server));
    INFO((added ? "" : added.error().message));
    REQUIRE(added.has_value());
    const auto promoted = f.real.wait(first.log->promote(id));
    INFO((promoted ? "" : promoted.error().message));
    REQUIRE(promoted.has_value());
  }
  for (store::Revision r = 1; r <= 20; ++r) {
    const auto done = f.real.wait(first.log->append(record(r, r == 20 ? 2U << 20U : 1000)));
    INFO((done ? "" : done.error().message));
    REQUIRE(done.has_value());
  }
  const auto read = f.real.wait(f.peers[2]->log->barrier());
  REQUIRE(read.has_value());
  CHECK(*read == 20);
  CHECK(f.real.until([&] { return f.peers[1]->log->status().revision == 20; }));
  const RaftStatus status = first.log->status();
  REQUIRE(status.servers.size() == 3);
  for (const PeerStatus& p : status.servers) CHECK(p.healthy);
}
