// Durable puts through three servers on this machine: skiff's over loopback TLS with an fsync each,
// beside three members of etcd (Debian's etcd-server) on the same disk.
// Then a fourth server joins while the writers go on.
//   bench_raft [DIRECTORY [SECONDS [WRITERS [OBJECTS]]]]    (the temporary directory, 5, 64,
//   200000)
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "skiff/pki/certificate.hpp"
#include "skiff/raft/http_network.hpp"
#include "skiff/store/store.hpp"

namespace {

using namespace skiff;  // NOLINT: a program of one file
namespace fs = std::filesystem;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

struct Loop {
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
    tasks.spawn("bench", run(std::move(task), out));
    io.restart();
    while (!out) io.run_one();
    return std::move(*out);
  }
};

struct Figures {
  std::vector<double> milliseconds;
  double seconds = 0;
  std::size_t failed = 0;

  void print(const char* what) {
    std::sort(milliseconds.begin(), milliseconds.end());
    const auto at = [&](double part) {
      if (milliseconds.empty()) return 0.0;
      return milliseconds[static_cast<std::size_t>(part *
                                                   (static_cast<double>(milliseconds.size()) - 1))];
    };
    std::printf("%-28s %9.0f puts/s   p50 %7.2f ms   p99 %7.2f ms   failed %zu\n", what, rate(),
                at(0.5), at(0.99), failed);
    std::fflush(stdout);
  }
  double rate() const { return static_cast<double>(milliseconds.size()) / seconds; }
};

template <class Put>
Task<void> writer(Loop& loop, TimePoint end, Put put, std::size_t number, Figures& out) {
  for (std::size_t i = 0; loop.clock.now() < end; ++i) {
    const TimePoint begin = loop.clock.now();
    const bool done =
        co_await put("/bench/" + std::to_string(number) + "/" + std::to_string(i % 1000));
    if (done) {
      out.milliseconds.push_back(
          std::chrono::duration<double, std::milli>(loop.clock.now() - begin).count());
    } else {
      ++out.failed;
    }
  }
}

template <class Put>
Figures measure(Loop& loop, int seconds, std::size_t writers, Put put) {
  Figures out;
  const TimePoint begin = loop.clock.now();
  TaskGroup group(loop.io.get_executor());
  for (std::size_t w = 0; w < writers; ++w) {
    group.spawn("writer", writer(loop, begin + std::chrono::seconds(seconds), put, w, out));
  }
  auto join = [](TaskGroup& g) -> Task<bool> {
    co_await g.join();
    co_return true;
  };
  (void)loop.wait(join(group));
  out.seconds = std::chrono::duration<double>(loop.clock.now() - begin).count();
  return out;
}

// --- skiff

struct Member {
  Loop loop;
  std::unique_ptr<raft::HttpNetwork> network;
  std::unique_ptr<http::Server> server;
  std::unique_ptr<raft::Entries> entries;
  raft::RaftLog* log = nullptr;
  std::unique_ptr<store::Store> store;
  std::string address;
  std::thread thread;
};

http::TlsIdentity identity(Member& m, const pki::CertificateAuthority& ca) {
  pki::LeafOptions leaf;
  leaf.subject.common_name = "server";
  leaf.subject.organizations = {"skiff:servers"};
  leaf.ip_addresses = {"127.0.0.1"};
  leaf.server = true;
  leaf.client = true;
  auto pair = ca.issue(m.loop.clock, m.loop.random, leaf);
  return {pair->certificate_pem, pair->key_pem};
}

void start(Member& m, raft::Id id, const fs::path& directory, const pki::CertificateAuthority& ca) {
  fs::create_directories(directory);
  raft::HttpNetworkOptions net;
  net.tls.ca_pem = ca.certificate().to_pem();
  net.tls.identity = identity(m, ca);
  m.network = raft::make_http_network(m.loop.env, net);
  http::ServerOptions server;
  server.address = "127.0.0.1";
  server.tls.emplace();
  server.tls->identity = identity(m, ca);
  server.tls->client_ca_pem = ca.certificate().to_pem();
  m.server = std::make_unique<http::Server>(m.loop.env, m.network->handler(), server);
  if (const auto ok = m.server->listen(); !ok) give_up(ok.error().message);
  m.address = "https://127.0.0.1:" + std::to_string(m.server->port());
  raft::EntriesOptions disk;
  disk.directory = (directory / "raft").string();
  m.entries = std::move(*raft::open_raft_entries(m.loop.env, disk));
  store::SqliteOptions inner;
  inner.path = (directory / "state.db").string();
  inner.durability = store::Durability::relaxed;
  auto database = store::open_sqlite_log(m.loop.env, inner);
  if (!database) give_up(database.error().message);
  raft::RaftOptions options;
  options.id = id;
  options.address = m.address;
  options.start = id == 1 ? raft::Start::bootstrap : raft::Start::join;
  options.inner = std::move(*database);
  options.network = m.network.get();
  options.entries = m.entries.get();
  auto log = raft::make_raft_log(m.loop.env, std::move(options));
  if (!log) give_up(log.error().message);
  m.log = log->get();
  auto store = m.loop.wait(store::Store::open(m.loop.env, std::move(*log), {}));
  if (!store) give_up(store.error().message);
  m.store = std::move(*store);
}

void run_alone(Member& m) {
  m.thread = std::thread([&m] {
    auto guard = asio::make_work_guard(m.loop.io);
    m.loop.io.restart();
    m.loop.io.run();
  });
}

void fill(Member& m, std::size_t objects) {
  for (std::size_t made = 0; made < objects;) {
    std::vector<store::Op> ops;
    for (int i = 0; i < 1000; ++i, ++made) {
      store::Op op;
      op.key = "/filled/" + std::to_string(made);
      op.value.assign(1024, 'x');
      ops.push_back(std::move(op));
    }
    for (const auto& verdict : m.loop.wait(m.store->commit(std::move(ops)))) {
      if (!verdict) give_up(verdict.error().message);
    }
  }
}

// Until it votes, which it may once it has everything.
template <class Put>
void join_under_load(Member* members, std::size_t writers, Put put) {
  Member& first = members[0];
  const auto page = first.store->range(store::Range::prefix("/"), 1);
  const TimePoint begin = first.loop.clock.now();
  double took = 0;
  auto join = [&]() -> Task<void> {
    raft::Server server;
    server.id = 4;
    server.address = members[3].address;
    Result<void> ok = co_await first.log->add(server);
    if (!ok) give_up(ok.error().message);
    for (;;) {
      ok = co_await first.log->promote(4);
      if (ok) break;
      co_await first.loop.clock.sleep_for(100ms);
    }
    took = std::chrono::duration<double>(first.loop.clock.now() - begin).count();
  };
  TaskGroup group(first.loop.io.get_executor());
  group.spawn("join", join());
  Figures all;
  while (took == 0) {
    Figures some = measure(first.loop, 1, writers, put);
    all.seconds += some.seconds;
    all.failed += some.failed;
    all.milliseconds.insert(all.milliseconds.end(), some.milliseconds.begin(),
                            some.milliseconds.end());
  }
  all.print("while a fourth joins");
  std::printf("a server of %zu objects joins  %6.2f s\n", page->items.size() + page->remaining,
              took);
}

// Ends the program: nobody stops the servers one by one.
[[noreturn]] void skiff_against(double etcd, const fs::path& directory, int seconds,
                                std::size_t writers, std::size_t objects) {
  static Member members[4];
  const auto ca =
      pki::CertificateAuthority::create(members[0].loop.clock, members[0].loop.random, "bench");
  for (std::size_t i = 0; i < 3; ++i) {
    start(members[i], i + 1, directory / ("skiff" + std::to_string(i + 1)), ca);
  }
  Member& first = members[0];
  for (std::size_t i = 1; i < 3; ++i) run_alone(members[i]);
  while (first.log->decider() != store::Decider::here) first.loop.io.run_one();
  for (std::size_t i = 1; i < 3; ++i) {
    raft::Server server;
    server.id = i + 1;
    server.address = members[i].address;
    if (auto ok = first.loop.wait(first.log->add(server)); !ok) give_up(ok.error().message);
    if (auto ok = first.loop.wait(first.log->promote(server.id)); !ok) give_up(ok.error().message);
  }
  auto put = [&first](std::string key) -> Task<bool> {
    store::Op op;
    op.key = std::move(key);
    op.value.assign(1024, 'x');
    std::vector<store::Op> ops;
    ops.push_back(std::move(op));
    const auto done = co_await first.store->commit(std::move(ops));
    co_return done.front().has_value();
  };
  (void)measure(first.loop, 1, writers, put);
  Figures figures = measure(first.loop, seconds, writers, put);
  figures.print("skiff, three servers");
  Figures lone = measure(first.loop, seconds, 1, put);
  lone.print("skiff, three servers, 1 writer");
  if (etcd > 0) std::printf("%.1f times etcd\n", figures.rate() / etcd);
  fill(first, objects);
  start(members[3], 4, directory / "skiff4", ca);
  run_alone(members[3]);
  join_under_load(members, writers, put);
  std::fflush(stdout);
  for (std::size_t i = 1; i < 4; ++i) members[i].loop.io.stop();
  for (std::size_t i = 1; i < 4; ++i) members[i].thread.join();
  // The pools of these servers still run, and forget entries.
  for (std::error_code failed; fs::exists(directory, failed);) fs::remove_all(directory, failed);
  std::_Exit(0);
}

// --- etcd, through its JSON gateway on the leader

std::string base64(const std::string& text) { return pki::base64_encode(text); }

std::vector<pid_t> start_etcd(const fs::path& directory, int base_port) {
  std::string cluster;
  for (int i = 0; i < 3; ++i) {
    cluster += (i > 0 ? "," : "") + std::string("m") + std::to_string(i) +
               "=http://127.0.0.1:" + std::to_string(base_port + 10 + i);
  }
  std::vector<pid_t> out;
  for (int i = 0; i < 3; ++i) {
    const std::string client = "http://127.0.0.1:" + std::to_string(base_port + i);
    const std::string peer = "http://127.0.0.1:" + std::to_string(base_port + 10 + i);
    const std::string name = "m" + std::to_string(i);
    const std::string data = (directory / ("etcd" + std::to_string(i))).string();
    const pid_t pid = ::fork();
    if (pid == 0) {
      if (::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(1);
      ::execlp("etcd", "etcd", "--name", name.c_str(), "--data-dir", data.c_str(),
               "--listen-client-urls", client.c_str(), "--advertise-client-urls", client.c_str(),
               "--listen-peer-urls", peer.c_str(), "--initial-advertise-peer-urls", peer.c_str(),
               "--initial-cluster", cluster.c_str(), "--initial-cluster-state", "new", nullptr);
      ::_exit(127);
    }
    out.push_back(pid);
  }
  return out;
}

Task<bool> etcd_put(http::Client& client, std::string url, std::string key,
                    const std::string& value) {
  http::ClientRequest request;
  request.method = http::Method::post;
  request.url = std::move(url) + "/v3/kv/put";
  request.body = "{\"key\":\"" + base64(key) + "\",\"value\":\"" + value + "\"}";
  const auto response = co_await client.request(std::move(request));
  co_return response && response->status == 200;
}

Task<bool> leads(http::Client& client, std::string url) {
  http::ClientRequest request;
  request.method = http::Method::post;
  request.url = std::move(url) + "/v3/maintenance/status";
  request.body = "{}";
  request.timeout = 2s;
  const auto response = co_await client.request(std::move(request));
  if (!response || response->status != 200) co_return false;
  const auto field = [&](const std::string& name) {
    const std::size_t at = response->body.find("\"" + name + "\":\"");
    if (at == std::string::npos) return std::string();
    const std::size_t begin = at + name.size() + 4;
    return response->body.substr(begin, response->body.find('"', begin) - begin);
  };
  co_return !field("leader").empty() && field("leader") == field("member_id");
}

double etcd_rate(const fs::path& directory, int seconds, std::size_t writers) {
  const int port = 23790 + static_cast<int>(::getpid() % 1000) * 20;
  const auto pids = start_etcd(directory, port);
  Loop loop;
  http::ClientOptions options;
  options.max_kept_per_host = writers + 1;
  http::Client client(loop.env, options);
  std::string leader;
  for (int tries = 0; leader.empty() && tries < 100; ++tries) {
    for (int i = 0; i < 3 && leader.empty(); ++i) {
      const std::string url = "http://127.0.0.1:" + std::to_string(port + i);
      if (loop.wait(leads(client, url))) leader = url;
    }
    ::usleep(100'000);
  }
  double rate = 0;
  if (leader.empty()) {
    std::printf("etcd did not start: is etcd-server installed?\n");
  } else {
    const std::string value = base64(std::string(1024, 'x'));
    auto put = [&client, leader, value](std::string key) -> Task<bool> {
      return etcd_put(client, leader, std::move(key), value);
    };
    (void)measure(loop, 1, writers, put);
    Figures figures = measure(loop, seconds, writers, put);
    figures.print("etcd, three members");
    rate = figures.rate();
    Figures lone = measure(loop, seconds, 1, put);
    lone.print("etcd, three members, 1 writer");
  }
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
  return rate;
}

}  // namespace

int main(int argc, char** argv) {
  const fs::path directory =
      (argc > 1 ? fs::path(argv[1]) : fs::temp_directory_path()) / "skiff-raft-bench";
  const int seconds = argc > 2 ? std::atoi(argv[2]) : 5;
  const std::size_t writers = argc > 3 ? static_cast<std::size_t>(std::atoi(argv[3])) : 64;
  const std::size_t objects = argc > 4 ? static_cast<std::size_t>(std::atoi(argv[4])) : 200'000;
  fs::remove_all(directory);
  fs::create_directories(directory);
  std::printf("puts of 1 KB, %zu writers, %d s, in %s\n", writers, seconds, directory.c_str());
  std::fflush(stdout);
  const double etcd = etcd_rate(directory, seconds, writers);
  skiff_against(etcd, directory, seconds, writers, objects);
}
