// Servers over real loopback TLS and real disks.
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>

#include "cluster.hpp"
#include "skiff/pki/certificate.hpp"
#include "skiff/raft/http_network.hpp"
#include "skiff/store/store.hpp"

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
  std::unique_ptr<store::Store> store;  // then it owns the log
  RaftLog* raft = nullptr;
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
      if (peer->store) (void)real.wait(peer->store->close());
      if (peer->log) (void)real.wait(peer->log->close());
      peer->store.reset();
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
  Peer& start(Id id, Start how, bool with_store = false) {
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
    raft.election_timeout = 3s;  // a busy machine is no reason for an election
    if (with_store) {
      store::SqliteOptions database;
      database.path = (path / (std::to_string(id) + ".db")).string();
      database.durability = store::Durability::relaxed;
      raft.inner = std::move(*store::open_sqlite_log(real.env, database));
    } else {
      raft.inner = std::make_unique<raft::test::FakeInner>(std::make_shared<raft::test::Disk>());
    }
    raft.network = peer->network.get();
    raft.entries = peer->entries.get();
    peer->log = std::move(*make_raft_log(real.env, std::move(raft)));
    peer->raft = peer->log.get();
    peers.push_back(std::move(peer));
    open(*peers.back(), with_store);
    return *peers.back();
  }
  void open(Peer& peer, bool with_store) {
    if (with_store) {
      auto opened = real.wait(store::Store::open(real.env, std::move(peer.log), {}));
      INFO((opened ? "" : opened.error().message));
      REQUIRE(opened.has_value());
      peer.store = std::move(*opened);
      return;
    }
    const auto recovered = real.wait(peer.log->replay([](store::Record) {}));
    INFO((recovered ? "" : recovered.error().message));
    REQUIRE(recovered.has_value());
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

TEST_CASE("three stores over SQLite, TLS and files", "[raft][http][stores]") {
  Fixture f;
  Peer& first = f.start(1, Start::bootstrap, true);
  REQUIRE(f.real.until([&] { return first.raft->decider() == store::Decider::here; }));
  const auto put = [&](std::size_t at, std::string key, std::string value) {
    store::Op op;
    op.key = std::move(key);
    op.value = std::move(value);
    std::vector<store::Op> ops;
    ops.push_back(std::move(op));
    auto verdicts = f.real.wait(f.peers[at]->store->commit(std::move(ops)));
    INFO((verdicts.front() ? "" : verdicts.front().error().message));
    REQUIRE(verdicts.front().has_value());
  };
  // What a single server had reaches those that join.
  for (int i = 0; i < 50; ++i) put(0, "before" + std::to_string(i), "1");
  for (Id id = 2; id <= 3; ++id) {
    Peer& next = f.start(id, Start::join, true);
    Server server;
    server.id = id;
    server.address = next.address;
    const auto added = f.real.wait(first.raft->add(server));
    REQUIRE(added.has_value());
    const auto promoted = f.real.wait(first.raft->promote(id));
    INFO((promoted ? "" : promoted.error().message));
    REQUIRE(promoted.has_value());
  }
  put(1, "a", "from 2");
  put(2, "b", "from 3");
  for (std::size_t i = 0; i < 3; ++i) {
    const auto revision = f.real.wait(f.peers[i]->store->barrier());
    REQUIRE(revision.has_value());
    CHECK(f.peers[i]->store->revision() == first.store->revision());
    CHECK((*f.peers[i]->store->get("a"))->value == "from 2");
    CHECK((*f.peers[i]->store->get("b"))->value == "from 3");
    CHECK((*f.peers[i]->store->get("before49"))->value == "1");
  }
  // The history that a joiner got with the entries can be read there.
  const store::Revision at = first.store->revision();
  put(2, "a", "changed");
  const auto old = f.real.wait(f.peers[2]->store->get_at("a", at));
  INFO((old ? "" : old.error().message));
  REQUIRE(old.has_value());
  CHECK((*old)->value == "from 2");
}
