#include "server.hpp"

#include <ifaddrs.h>
#include <malloc.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <filesystem>

#include "identity.hpp"
#include "skiff/apiserver/apiserver.hpp"
#include "skiff/controllers/controllers.hpp"
#include "skiff/kubelet/kubelet.hpp"
#include "skiff/linux/system.hpp"
#include "skiff/proxy/proxy.hpp"
#include "skiff/registry/direct_client.hpp"
#include "skiff/scheduler/scheduler.hpp"
#include "skiff/store/store.hpp"

namespace skiff::app {
namespace {

using netlink::IpAddress;
using netlink::Prefix;

constexpr const char* kDemoImage = "skiff/demo:latest";

// The n-th address of a range: .1 is the API's service, .10 the DNS service, as everywhere.
std::string nth_address(const Prefix& range, std::uint32_t n) {
  return IpAddress::v4(range.address.v4_value() + n).to_string();
}

// The address other machines would reach this one by: the one its default route would use. Nothing
// is sent.
std::string address_of_default_route() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  sockaddr_in far{};
  far.sin_family = AF_INET;
  far.sin_port = htons(9);
  far.sin_addr.s_addr = htonl(0xC0000201);  // 192.0.2.1, RFC 5737
  sockaddr_in here{};
  socklen_t size = sizeof here;
  std::string out;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&far), sizeof far) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &size) == 0) {
    out = IpAddress::v4(ntohl(here.sin_addr.s_addr)).to_string();
  }
  ::close(fd);
  return out;
}

// Without a default route: any address of a real link.
std::string any_address(const std::string& but_not_on) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return "";
  std::string out;
  for (const ifaddrs* a = list; a != nullptr && out.empty(); a = a->ifa_next) {
    if (a->ifa_addr == nullptr || a->ifa_addr->sa_family != AF_INET) continue;
    if ((a->ifa_flags & IFF_LOOPBACK) != 0 || but_not_on == a->ifa_name) continue;
    const auto* in = reinterpret_cast<const sockaddr_in*>(a->ifa_addr);
    out = IpAddress::v4(ntohl(in->sin_addr.s_addr)).to_string();
  }
  ::freeifaddrs(list);
  return out;
}

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

std::string own_executable() {
  std::error_code ec;
  return std::filesystem::read_symlink("/proc/self/exe", ec);
}

runtime::ImageConfig demo_image() {
  runtime::ImageConfig config;
  config.entrypoint = {"/skiff", "demo"};
  config.working_dir = "/";
  config.exposed_ports = {"8080/tcp"};
  return config;
}

class Server {
 public:
  Server(asio::io_context& io, ServerOptions options)
      : options_(std::move(options)),
        blocking_(3),
        env_{io.get_executor(), &clock_, &random_, &metrics_, &blocking_},
        core_(env_.executor),
        parts_(env_.executor) {}

  Task<void> run(int* exit_code) {
    const Result<void> started = co_await start();
    if (started) {
      log::info("app", "skiff is ready",
                {{"server", server_url()}, {"kubeconfig", options_.kubeconfig()}});
      co_await wait_for_signal();
      log::info("app", "stopping; pods keep running");
    } else {
      std::fprintf(stderr, "skiff: %s\n", started.error().message.c_str());
      *exit_code = 1;
    }
    co_await stop();
  }

 private:
  std::string server_url() const {
    const std::string& address = options_.bind_address;
    const std::string host = address == "0.0.0.0" || address == "::" ? "127.0.0.1" : address;
    return "https://" + host + ":" + std::to_string(options_.https_port);
  }

  Task<Result<void>> start() {
    SKIFF_CO_TRY(cluster_cidr_, Prefix::parse(options_.cluster_cidr));
    SKIFF_CO_TRY(service_cidr_, Prefix::parse(options_.service_cidr));
    pod_cidr_ = cluster_cidr_;
    pod_cidr_.length = std::max<std::uint8_t>(24, cluster_cidr_.length);
    choose_node_ip();
    SKIFF_CO_CHECK(make_data_dir(options_.data_dir));
    SKIFF_CO_CHECK(co_await open_store());
    SKIFF_CO_TRY(identity_, load_or_make_identity(env_, options_, nth_address(service_cidr_, 1)));
    SKIFF_CO_CHECK(co_await start_api());
    SKIFF_CO_CHECK(write_kubeconfigs());
    SKIFF_CO_CHECK(co_await start_parts());
    co_return Result<void>();
  }

  void choose_node_ip() {
    if (options_.node_ip.empty()) options_.node_ip = address_of_default_route();
    if (options_.node_ip.empty()) options_.node_ip = any_address("skiff0");
    if (!options_.node_ip.empty()) return;
    // A machine with no link at all: the pods' bridge is reachable from here and from every pod.
    const bool has_bridge = !options_.disabled("network") && !options_.disabled("kubelet");
    options_.node_ip = has_bridge ? nth_address(pod_cidr_, 1) : "127.0.0.1";
  }

  Task<Result<void>> open_store() {
    std::unique_ptr<store::Log> log;
    if (options_.datastore == "memory") {
      log = store::make_memory_log();
    } else {
      store::SqliteOptions sqlite;
      sqlite.path = options_.data_dir + "/state.db";
      if (options_.durability == "relaxed") sqlite.durability = store::Durability::relaxed;
      SKIFF_CO_TRY(log, store::open_sqlite_log(env_, std::move(sqlite)));
    }
    store::StoreOptions store_options;
    SKIFF_CO_TRY(store_, co_await store::Store::open(env_, std::move(log), store_options));
    co_return Result<void>();
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
    if (!IpAddress::parse(options_.node_ip)->loopback()) o.advertise_address = options_.node_ip;
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
    node_client.tls.ca_pem = identity_.ca_pem;
    node_client.tls.identity = {identity_.node_api_user.certificate_pem,
                                identity_.node_api_user.key_pem};
    nodes_ = std::make_unique<http::Client>(env_, std::move(node_client));
    apiserver::Options api_options;
    api_options.git_version = kubernetes_version();
    api_options.nodes = nodes_.get();
    if (!options_.token.empty()) {
      registry::User user;
      user.name = "system:admin";
      user.groups = {"system:masters", "system:authenticated"};
      api_options.static_tokens.push_back({options_.token, std::move(user)});
    }
    store::Store* store = store_.get();
    apiserver::HealthCheck check;
    check.name = "store";
    check.check = [store]() -> Result<void> {
      if (const auto error = store->failing()) return *error;
      return {};
    };
    api_options.checks.push_back(std::move(check));
    api_ = std::make_unique<apiserver::ApiServer>(env_, *registry_, tokens_.get(),
                                                  std::move(api_options));
    http::ServerOptions listen;
    listen.address = options_.bind_address;
    listen.port = static_cast<std::uint16_t>(options_.https_port);
    listen.tls.emplace();
    listen.tls->identity = {identity_.server.certificate_pem, identity_.server.key_pem};
    listen.tls->client_ca_pem = identity_.ca_pem;
    listen.format_refusal = apiserver::ApiServer::format_refusal;
    listen.name = "apiserver";
    https_ = std::make_unique<http::Server>(env_, *api_, std::move(listen));
    SKIFF_CO_CHECK(https_->listen());
    listening_ = true;
    api_->set_ready();
    co_return Result<void>();
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
    controller_client_ = client_for("system:kube-controller-manager");
    scheduler_client_ = client_for("system:kube-scheduler");
    node_client_ = client_for("system:node:" + options_.node_name);
    informers_ = std::make_unique<client::InformerFactory>(env_, *controller_client_);
    if (!options_.disabled("controllers")) {
      controllers::Options o;
      o.ca_pem = identity_.ca_pem;
      controllers_ = std::make_unique<controllers::Controllers>(env_, *controller_client_,
                                                                *informers_, std::move(o));
    }
    if (!options_.disabled("scheduler")) {
      scheduler_ = std::make_unique<scheduler::Scheduler>(env_, *scheduler_client_, *informers_,
                                                          scheduler::Options{});
    }
    if (!options_.disabled("proxy")) make_proxy();
    if (!options_.disabled("kubelet")) SKIFF_CO_CHECK(co_await make_kubelet());
    informers_->start(parts_);
    if (controllers_) controllers_->start(parts_);
    if (scheduler_) scheduler_->start(parts_);
    if (proxy_) proxy_->start(parts_);
    if (kubelet_) SKIFF_CO_CHECK(co_await kubelet_->start(parts_));
    parts_.spawn("slim down", slim_down());
    co_return Result<void>();
  }

  std::unique_ptr<registry::DirectClient> client_for(std::string user) {
    return std::make_unique<registry::DirectClient>(*registry_, std::move(user));
  }

  void make_proxy() {
    const Result<void> able = proxy::check();
    if (!able) {
      log::warn("app", "services will not work on this machine", {{"error", able.error()}});
      return;
    }
    proxy::Options o;
    o.node_name = options_.node_name;
    o.cluster_cidr = cluster_cidr_;
    proxy_ = std::make_unique<proxy::Proxy>(env_, *informers_, std::move(o));
  }

  Task<Result<void>> make_network() {
    const Result<void> able = network::check();
    if (!able) {
      log::warn("app", "only pods with hostNetwork will run on this machine",
                {{"error", able.error()}});
      co_return Result<void>();
    }
    network::Options o;
    o.pod_cidr = pod_cidr_;
    o.cluster_cidr = cluster_cidr_;
    o.service_cidr = service_cidr_;
    network_ = std::make_unique<network::Network>(env_, std::move(o));
    SKIFF_CO_CHECK(co_await network_->start());
    std::set<std::string> live;
    for (const runtime::SandboxStatus& s : runtime_->list_sandboxes()) live.insert(s.id);
    SKIFF_CO_CHECK(co_await network_->recover(std::move(live)));
    co_return Result<void>();
  }

  Task<Result<void>> make_kubelet() {
    runtime::ImageOptions image_options;
    image_options.root = options_.data_dir + "/images";
    image_options.default_registry = options_.default_registry;
    images_ = std::make_unique<runtime::ImageStore>(env_, std::move(image_options));
    runtime::ImageConfig demo = demo_image();
    images_->register_builtin(kDemoImage, own_executable(), std::move(demo));
    SKIFF_CO_CHECK(co_await images_->open());
    images_open_ = true;

    runtime::RuntimeOptions runtime_options;
    runtime_options.state_dir = runtime_state_dir();
    runtime_options.data_dir = options_.data_dir + "/runtime";
    auto made = runtime::make_runtime(env_, std::move(runtime_options));
    if (!made) {
      log::warn("app", "no pods will run on this machine; skiff check says why",
                {{"error", made.error()}});
      co_return Result<void>();
    }
    runtime_ = std::move(*made);
    SKIFF_CO_CHECK(co_await runtime_->recover());
    runtime::Runtime* runtime = runtime_.get();
    images_->set_in_use([runtime](const std::string& image_id) {
      for (const runtime::ContainerStatus& c : runtime->list_containers()) {
        if (c.config.image_id == image_id) return true;
      }
      return false;
    });
    if (!options_.disabled("network")) SKIFF_CO_CHECK(co_await make_network());

    kubelet::Options o;
    o.node_name = options_.node_name;
    o.node_ip = options_.node_ip;
    o.pod_cidr = pod_cidr_.to_string();
    o.root_dir = options_.data_dir + "/kubelet";
    o.log_dir = options_.data_dir + "/logs";
    o.cluster_domain = options_.cluster_domain;
    o.version = kubernetes_version();
    o.default_registry = options_.default_registry;
    o.node_labels = {{"node-role.kubernetes.io/control-plane", ""}};
    o.port = static_cast<std::uint16_t>(options_.kubelet_port);
    o.bind_address = options_.bind_address;
    o.tls.identity = {identity_.kubelet.certificate_pem, identity_.kubelet.key_pem};
    o.tls.client_ca_pem = identity_.ca_pem;
    std::error_code ec;
    std::filesystem::create_directories(o.root_dir, ec);
    kubelet_ = std::make_unique<kubelet::Kubelet>(env_, *node_client_, *informers_, *runtime_,
                                                  *images_, network_.get(), std::move(o));
    co_return Result<void>();
  }

  // Sockets need short paths, and what is below must vanish with the machine's next boot. Two
  // servers with different data directories must not meet there.
  std::string runtime_state_dir() const {
    const std::string base = ::geteuid() == 0 ? "/run/skiff" : options_.data_dir + "/run";
    if (options_.data_dir == default_data_dir()) return base;
    return base + "-" + pki::sha256_hex(options_.data_dir).substr(0, 8);
  }

  // Starting reads most of the program and builds what is thrown away again; an idle server holds
  // neither.
  Task<void> slim_down() {
    co_await clock_.sleep_for(5s);
    ::malloc_trim(0);
    sys::forget_program_pages();
  }

  Task<void> wait_for_signal() {
    asio::signal_set signals(env_.executor, SIGINT, SIGTERM);
    co_await signals.async_wait(asio::use_awaitable);
  }

  // The reverse of start(): nobody is left without what it stands on.
  Task<void> stop() {
    if (api_) api_->set_ready(false);
    if (kubelet_) co_await kubelet_->stop();
    parts_.cancel();
    co_await parts_.join();
    kubelet_.reset();
    proxy_.reset();
    scheduler_.reset();
    controllers_.reset();
    informers_.reset();
    if (runtime_) co_await runtime_->close();
    if (images_open_) co_await images_->stop();
    if (listening_) co_await https_->stop(2s);
    https_.reset();
    core_.cancel();
    co_await core_.join();
    api_.reset();
    nodes_.reset();
    registry_.reset();
    if (store_) {
      const Result<void> closed = co_await store_->close();
      if (!closed) log::error("app", "store not closed cleanly", {{"error", closed.error()}});
    }
  }

  ServerOptions options_;
  RealClock clock_;
  SystemRandom random_;
  metrics::Registry metrics_;
  BlockingPool blocking_;
  Env env_;
  TaskGroup core_;   // the registry's tasks
  TaskGroup parts_;  // everything that stands on the API
  Prefix cluster_cidr_;
  Prefix service_cidr_;
  Prefix pod_cidr_;
  Identity identity_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<apiserver::ServiceAccountTokens> tokens_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<http::Client> nodes_;
  std::unique_ptr<apiserver::ApiServer> api_;
  std::unique_ptr<http::Server> https_;
  bool listening_ = false;
  bool images_open_ = false;
  std::unique_ptr<registry::DirectClient> controller_client_;
  std::unique_ptr<registry::DirectClient> scheduler_client_;
  std::unique_ptr<registry::DirectClient> node_client_;
  std::unique_ptr<client::InformerFactory> informers_;
  std::unique_ptr<controllers::Controllers> controllers_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
  std::unique_ptr<proxy::Proxy> proxy_;
  std::unique_ptr<runtime::ImageStore> images_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<network::Network> network_;
  std::unique_ptr<kubelet::Kubelet> kubelet_;
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
