#include "server.hpp"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <boost/asio/signal_set.hpp>
#include <filesystem>

#include "cluster.hpp"
#include "cluster_api.hpp"
#include "encryption.hpp"
#include "fork_nodes.hpp"
#include "identity.hpp"
#include "server_address.hpp"
#include "server_front.hpp"
#include "server_leader.hpp"
#include "server_store.hpp"
#include "server_worker.hpp"
#include "siblings.hpp"
#include "skiff/apiserver/apiserver.hpp"
#include "skiff/linux/system.hpp"
#include "snapshot.hpp"

namespace skiff::app {
namespace {

using netlink::IpAddress;
using netlink::Prefix;

void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<void> make_data_dir(const std::string& path) {
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  if (ec) {
    return annotate(errno_error(ec.value(), "cannot make the data directory " + path),
                    "choose another with --data-dir");
  }
  ::chmod(path.c_str(), 0700);
  return {};
}

http::TlsServerOptions api_tls(const Identity& identity) {
  http::TlsServerOptions tls;
  tls.identity = {identity.server.certificate_pem, identity.server.key_pem};
  tls.client_ca_pem = identity.ca_pem;
  return tls;
}

http::TlsClientOptions node_client_tls(const Identity& identity) {
  http::TlsClientOptions tls;
  tls.ca_pem = identity.ca_pem;
  tls.identity = {identity.node_api_user.certificate_pem, identity.node_api_user.key_pem};
  return tls;
}

class Server {
 public:
  Server(asio::io_context& io, ServerOptions options)
      : options_(std::move(options)),
        blocking_(3),
        env_{io.get_executor(), &clock_, &random_, &metrics_, &blocking_},
        core_(env_.executor),
        parts_(env_.executor),
        ended_(env_.executor) {}

  Task<void> run(int* exit_code) {
    const Result<void> started = co_await start();
    if (!started) {
      std::fprintf(stderr, "skiff: %s\n", started.error().message.c_str());
      *exit_code = 1;
    } else if (options_.cluster_reset) {
      std::printf(
          "This server is a cluster of its own again. Start it without --cluster-reset; the "
          "others can only come back with empty data directories.\n");
    } else {
      log::info("app", "skiff is ready",
                {{"server", server_url()}, {"kubeconfig", options_.kubeconfig()}});
      core_.spawn("signals", wait_for_signal());
      core_.spawn("reload", reload_on_signal());
      while (!over_) co_await ended_.wait();
      log::info("app", "stopping; pods keep running");
    }
    // What was acknowledged is on disk: a stop that gets stuck may end as a crash would.
    asio::steady_timer patience(env_.executor, 12s);
    patience.async_wait([this](boost::system::error_code ec) {
      if (ec) return;
      log::error("app", "stopping takes too long: ending at once; nothing acknowledged is lost",
                 {{"waits for", stopping_}, {"tasks", running_tasks()}});
      std::_Exit(1);
    });
    co_await stop();
    patience.cancel();
  }

 private:
  std::string server_url() const {
    const std::string& address = options_.bind_address;
    const std::string host = address == "0.0.0.0" || address == "::" ? "127.0.0.1" : address;
    return "https://" + host + ":" + std::to_string(options_.https_port);
  }

  Task<Result<void>> start() {
    SKIFF_CO_TRY(ranges_.cluster, Prefix::parse(options_.cluster_cidr));
    SKIFF_CO_TRY(ranges_.service, Prefix::parse(options_.service_cidr));
    SKIFF_CO_CHECK(check_cluster_range());
    choose_node_ip();
    SKIFF_CO_CHECK(make_data_dir(options_.data_dir));
    if (options_.external_datastore()) {
      siblings_ = std::make_unique<Siblings>(env_, options_);
      SKIFF_CO_CHECK(co_await siblings_->prepare());
    } else if (Cluster::shares(options_)) {
      cluster_ = std::make_unique<Cluster>(env_, options_);
      SKIFF_CO_CHECK(co_await cluster_->prepare());
    }
    service_ip_ = nth_address(ranges_.service, 1);
    SKIFF_CO_TRY(identity_, load_or_make_identity(env_, options_, service_ip_));
    SKIFF_CO_TRY(encryption_, Encryption::open(env_, options_));
    SKIFF_CO_CHECK(co_await open());
    if (options_.cluster_reset) co_return co_await cluster_->forget_others(store_.get());
    SKIFF_CO_CHECK(co_await start_api());
    SKIFF_CO_CHECK(write_kubeconfigs());
    co_return co_await start_parts();
  }

  void choose_node_ip() {
    if (options_.node_ip.empty()) options_.node_ip = own_address("skiff0");
    if (!options_.node_ip.empty()) return;
    // A machine with no link at all: the pods' bridge is reachable from here and from every pod.
    options_.node_ip = runs_network() ? nth_address(ranges_.cluster, 1) : "127.0.0.1";
    if (runs_network()) ranges_.node_address = *IpAddress::parse(options_.node_ip);
  }

  bool runs_network() const {
    return !options_.disabled("network") && !options_.disabled("kubelet");
  }

  Result<void> check_cluster_range() const {
    const Prefix& range = ranges_.cluster;
    const bool good = !range.address.v6 && range.length >= 8 && range.length <= 30;
    if (good || !runs_network()) return {};
    return Error{Code::bad_request, "--cluster-cidr " + options_.cluster_cidr +
                                        ": want an IPv4 prefix from /8 to /30, such as "
                                        "10.42.0.0/16"};
  }

  Result<void> listen() {
    http::ServerOptions o;
    o.address = options_.bind_address;
    o.port = static_cast<std::uint16_t>(options_.https_port);
    o.tls = api_tls(identity_);
    o.format_refusal = apiserver::ApiServer::format_refusal;
    o.name = "apiserver";
    https_ = std::make_unique<http::Server>(env_, front_, std::move(o));
    SKIFF_CHECK(https_->listen());
    listening_ = true;
    return {};
  }

  // Servers of a cluster must hear each other before a store over their log can answer.
  Task<Result<void>> open() {
    if (cluster_) {
      front_.mount(std::string(raft::kRaftPath), &cluster_->connect(identity_));
      SKIFF_CO_CHECK(listen());
    }
    etcd::EtcdOptions etcd;
    if (siblings_) {
      SKIFF_CO_CHECK(siblings_->connect(identity_));
      etcd = siblings_->settings();
    }
    SKIFF_CO_TRY(store_, co_await open_store(env_, options_, encryption_->sealer(), cluster_.get(),
                                             std::move(etcd)));
    if (!cluster_) SKIFF_CO_CHECK(listen());
    if (!cluster_ || options_.cluster_reset || cluster_->arrived()) co_return Result<void>();
    // A newcomer knows nothing yet; what is built on the store begins with the cluster's state.
    log::info("app", "waiting for the cluster's state");
    for (;;) {
      if (cluster_->arrived()) {
        const auto current = co_await store_->barrier();
        if (current) co_return Result<void>();
      }
      co_await clock_.sleep_for(100ms);
    }
  }

  Result<registry::Options> registry_options() {
    registry::Options o;
    o.service_cidr = options_.service_cidr;
    const std::size_t dash = options_.node_ports.find('-');
    o.node_port_min = std::atoi(options_.node_ports.c_str());
    o.node_port_max =
        dash == std::string::npos ? 0 : std::atoi(options_.node_ports.c_str() + dash + 1);
    if (o.node_port_min < 1 || o.node_port_max > 65535 || o.node_port_max < o.node_port_min) {
      return Error{Code::bad_request, "--service-node-port-range " + options_.node_ports +
                                          ": want FIRST-LAST, such as 30000-32767"};
    }
    o.shared = cluster_ || siblings_;
    // Of several servers, the leader lists those that answer.
    if (!o.shared && !IpAddress::parse(options_.node_ip)->loopback()) {
      o.advertise_address = options_.node_ip;
    }
    o.advertise_port = static_cast<int>(options_.https_port);
    o.tokens = tokens_.get();
    return o;
  }

  Task<Result<void>> start_api() {
    SKIFF_CO_TRY(auto key, pki::PrivateKey::from_pem(identity_.service_account_key_pem));
    apiserver::TokenOptions token_options{std::move(key), {}, "", {}};
    token_options.issuer = "https://kubernetes.default.svc." + options_.cluster_domain;
    tokens_ = std::make_unique<apiserver::ServiceAccountTokens>(env_, std::move(token_options));
    SKIFF_CO_TRY(auto registry_settings, registry_options());
    registry_ = std::make_unique<registry::Registry>(env_, *store_, std::move(registry_settings));
    SKIFF_CO_CHECK(co_await registry_->start(core_));

    http::ClientOptions node_client;
    node_client.tls = node_client_tls(identity_);
    nodes_ = std::make_unique<http::Client>(env_, std::move(node_client));
    apiserver::Options api_options;
    api_options.git_version = kubernetes_version();
    api_options.nodes = nodes_.get();
    if (!options_.token.empty() && options_.server.empty()) {
      registry::User user;
      user.name = "system:admin";
      user.groups = {"system:masters", "system:authenticated"};
      api_options.static_tokens.push_back({options_.token, std::move(user)});
    }
    api_options.checks.push_back(store_check());
    make_snapshot_keeper();
    api_options.backups = snapshots_.get();
    api_ = std::make_unique<apiserver::ApiServer>(env_, *registry_, tokens_.get(),
                                                  std::move(api_options));
    own_api_ = std::make_unique<ClusterApi>(env_, options_, identity_, *registry_, *encryption_,
                                            cluster_.get(), siblings_.get());
    for (const std::string_view path : ClusterApi::kPaths) {
      front_.mount(std::string(path), own_api_.get());
    }
    front_.mount("/", api_.get());
    api_->set_ready();
    co_return Result<void>();
  }

  void make_snapshot_keeper() {
    KeeperOptions o;
    o.directory =
        options_.snapshot_dir.empty() ? options_.data_dir + "/snapshots" : options_.snapshot_dir;
    o.every = options_.snapshot_every;
    o.keep = static_cast<std::size_t>(options_.snapshot_retention);
    store::SnapshotOptions how;
    how.cluster = identity_.cluster_id;
    how.sealer = encryption_->sealer();
    store::Store* store = store_.get();
    auto save = [env = env_, store, how](std::string path) {
      return store::save_snapshot(env, *store, std::move(path), how);
    };
    snapshots_ = std::make_unique<SnapshotKeeper>(env_, std::move(o), std::move(save),
                                                  [store] { return store->revision(); });
  }

  apiserver::HealthCheck store_check() {
    store::Store* store = store_.get();
    apiserver::HealthCheck check;
    check.name = "store";
    const char* none = siblings_ ? "etcd does not answer: reads may be stale, writes fail"
                                 : "no quorum: reads may be stale, writes fail";
    check.check = [store, none]() -> Result<void> {
      if (const auto error = store->failing()) return *error;
      if (store->decider() != store::Decider::nobody) return {};
      return Error{Code::unavailable, none};
    };
    return check;
  }

  Result<void> write_kubeconfigs() {
    const std::string text = make_kubeconfig(identity_, server_url());
    SKIFF_CHECK(pki::write_private_file(options_.kubeconfig(), text));
    if (!options_.write_kubeconfig.empty()) {
      SKIFF_CHECK(pki::write_private_file(options_.write_kubeconfig, text));
    }
    return {};
  }

  Task<Result<void>> start_parts() {
    leader_ = std::make_unique<Leader>(env_, *registry_, options_, identity_.ca_pem,
                                       siblings_ ? &siblings_->election() : nullptr);
    leader_->start();
    const std::string user = "system:node:" + options_.node_name;
    node_client_ = std::make_unique<registry::DirectClient>(*registry_, user);
    worker_ = std::make_unique<Worker>(env_, options_, ranges_, *node_client_);
    SKIFF_CO_CHECK(co_await worker_->make(identity_));
    SKIFF_CO_CHECK(co_await worker_->start(parts_));
    if (cluster_) cluster_->start(core_, *registry_, [this] { end(); });
    if (siblings_) siblings_->start(*registry_);
    Cluster* cluster = cluster_.get();
    encryption_->start(core_, *store_, [cluster] { return !cluster || cluster->settled(); });
    core_.spawn("certificates",
                keep_identity_fresh(env_, options_, service_ip_, identity_.renew_at,
                                    [this](const Identity& fresh) { adopt(fresh); }));
    core_.spawn("snapshots", snapshots_->run());
    if (options_.fork) parts_.spawn("pods of a fork", imitate_kubelets(env_, node_client_.get()));
    parts_.spawn("slim down", slim_down());
    co_return Result<void>();
  }

  // Connections that stand keep what they have; new ones see the new certificates.
  void adopt(const Identity& fresh) {
    identity_ = fresh;
    const auto told = [](const char* who, const Result<void>& ok) {
      if (!ok)
        log::error("app", "a renewed certificate is not used",
                   {{"by", who}, {"error", ok.error()}});
    };
    told("the API", https_->set_tls(api_tls(fresh)));
    told("calls to nodes", nodes_->set_tls(node_client_tls(fresh)));
    told("the kubeconfig", write_kubeconfigs());
    if (cluster_) told("the other servers", cluster_->set_identity(fresh));
    worker_->set_identity(fresh);
  }

  // Starting reads most of the program and builds what is thrown away again; an idle server holds
  // neither.
  Task<void> slim_down() {
    co_await clock_.sleep_for(5s);
    ::malloc_trim(0);
    sys::forget_program_pages();
  }

  void end() {
    over_ = true;
    ended_.notify_all();
  }

  Task<void> wait_for_signal() {
    asio::signal_set signals(env_.executor, SIGINT, SIGTERM);
    co_await signals.async_wait(asio::use_awaitable);
    end();
  }

  Task<void> reload_on_signal() {
    asio::signal_set signals(env_.executor, SIGHUP);
    for (;;) {
      co_await signals.async_wait(asio::use_awaitable);
      const Result<void> read = co_await encryption_->reload();
      if (!read) log::error("app", "encryption keys stay as they were", {{"error", read.error()}});
    }
  }

  std::string running_tasks() const {
    std::string out;
    for (const TaskGroup* group : {&parts_, &core_}) {
      for (const std::string& name : group->names()) out += (out.empty() ? "" : ", ") + name;
    }
    return out;
  }

  // The reverse of start(): nobody is left without what it stands on.
  Task<void> stop() {
    if (api_) api_->set_ready(false);
    stopping_ = "the kubelet";
    if (worker_) co_await worker_->stop_kubelet();
    stopping_ = "controllers and scheduler";
    if (leader_) co_await leader_->stop();
    stopping_ = "the election in etcd";
    if (siblings_) co_await siblings_->stop();
    stopping_ = "the node's parts";
    parts_.cancel();
    co_await parts_.join();
    stopping_ = "the container runtime";
    if (worker_) co_await worker_->stop();
    worker_.reset();
    leader_.reset();
    stopping_ = "the leadership's handing over";
    if (cluster_) co_await cluster_->hand_over();  // while the others can still be heard
    stopping_ = "open connections";
    if (listening_) co_await https_->stop(2s);
    https_.reset();
    stopping_ = "the API's parts";
    core_.cancel();
    co_await core_.join();
    own_api_.reset();
    api_.reset();
    snapshots_.reset();
    nodes_.reset();
    registry_.reset();
    stopping_ = "the store";
    if (store_) {
      const Result<void> closed = co_await store_->close();
      if (!closed) log::error("app", "store not closed cleanly", {{"error", closed.error()}});
    }
    store_.reset();
    stopping_ = "connections to other servers";
    if (cluster_) co_await cluster_->stop();
  }

  ServerOptions options_;
  RealClock clock_;
  SystemRandom random_;
  metrics::Registry metrics_;
  BlockingPool blocking_;
  Env env_;
  TaskGroup core_;   // the registry's tasks, and what looks after store and certificates
  TaskGroup parts_;  // everything that stands on the API
  Signal ended_;
  bool over_ = false;
  bool listening_ = false;
  const char* stopping_ = "nothing";  // the part that stop() waits for
  WorkerRanges ranges_;
  std::string service_ip_;
  Identity identity_;
  std::unique_ptr<Encryption> encryption_;
  std::unique_ptr<Cluster> cluster_;    // where servers share a log of their own
  std::unique_ptr<Siblings> siblings_;  // over an etcd
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<apiserver::ServiceAccountTokens> tokens_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<http::Client> nodes_;
  std::unique_ptr<SnapshotKeeper> snapshots_;
  std::unique_ptr<apiserver::ApiServer> api_;
  std::unique_ptr<ClusterApi> own_api_;
  Front front_;
  std::unique_ptr<http::Server> https_;
  std::unique_ptr<registry::DirectClient> node_client_;
  std::unique_ptr<Leader> leader_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace

std::string kubernetes_version() { return "v1.35.0+skiff." SKIFF_VERSION; }

int run_server(ServerOptions options) {
  raise_file_limit();
  const auto level = log::parse_level(options.log_level);
  if (!level) {
    std::fprintf(stderr, "skiff: %s\n", level.error().message.c_str());
    return 1;
  }
  log::set_level(*level);
  int exit_code = 0;
  asio::io_context io(1);
  Server server(io, std::move(options));
  asio::co_spawn(io, server.run(&exit_code), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return exit_code;
}

}  // namespace skiff::app
