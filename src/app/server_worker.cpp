#include "server_worker.hpp"

#include <unistd.h>

#include <filesystem>
#include <set>

#include "server.hpp"
#include "skiff/pki/keys.hpp"

namespace skiff::app {
namespace {

constexpr const char* kDemoImage = "skiff/demo:latest";

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

http::TlsServerOptions kubelet_tls(const Identity& identity) {
  http::TlsServerOptions tls;
  tls.identity = {identity.kubelet.certificate_pem, identity.kubelet.key_pem};
  tls.client_ca_pem = identity.ca_pem;
  return tls;
}

}  // namespace

Worker::Worker(Env env, const ServerOptions& options, WorkerRanges ranges, client::Client& client)
    : env_(env), options_(options), ranges_(ranges), client_(client), informers_(env, client) {}
Worker::~Worker() = default;

Task<Result<void>> Worker::make(const Identity& identity) {
  if (!options_.disabled("proxy")) make_proxy();
  if (!options_.disabled("kubelet")) SKIFF_CO_CHECK(co_await make_kubelet(identity));
  co_return Result<void>();
}

Task<Result<void>> Worker::start(TaskGroup& group) {
  informers_.start(group);
  if (proxy_) proxy_->start(group);
  if (pod_range_) pod_range_->start(group);
  if (routes_) routes_->start(group);
  if (kubelet_) SKIFF_CO_CHECK(co_await kubelet_->start(group));
  co_return Result<void>();
}

Task<void> Worker::stop_kubelet() {
  if (kubelet_) co_await kubelet_->stop();
}

Task<void> Worker::stop() {
  kubelet_.reset();
  proxy_.reset();
  routes_.reset();
  pod_range_.reset();
  if (runtime_) co_await runtime_->close();
  if (images_open_) co_await images_->stop();
}

void Worker::set_identity(const Identity& identity) {
  if (!kubelet_) return;
  if (const auto ok = kubelet_->set_tls(kubelet_tls(identity)); !ok) {
    log::error("app", "the node API keeps its old certificate", {{"error", ok.error()}});
  }
}

void Worker::make_proxy() {
  const Result<void> able = proxy::check();
  if (!able) {
    log::warn("app", "services will not work on this machine", {{"error", able.error()}});
    return;
  }
  proxy::Options o;
  o.node_name = options_.node_name;
  o.cluster_cidr = ranges_.cluster;
  proxy_ = std::make_unique<proxy::Proxy>(env_, informers_, std::move(o));
}

Task<Result<void>> Worker::make_network() {
  const Result<void> able = network::check();
  if (!able) {
    log::warn("app", "only pods with hostNetwork will run on this machine",
              {{"error", able.error()}});
    co_return Result<void>();
  }
  network::Options o;
  o.cluster_cidr = ranges_.cluster;
  o.service_cidr = ranges_.service;
  o.node_address = ranges_.node_address;
  network_ = std::make_unique<network::Network>(env_, std::move(o));
  network::RouteOptions to_others;
  to_others.node_name = options_.node_name;
  to_others.cluster_cidr = ranges_.cluster;
  routes_ = std::make_unique<network::Routes>(env_, informers_, std::move(to_others));
  pod_range_ = std::make_unique<PodRange>(
      env_, client_, informers_, options_.node_name, options_.data_dir + "/pod-range",
      [this](netlink::Prefix range) { return open_network(range); });
  co_return co_await pod_range_->begin();
}

Task<Result<void>> Worker::open_network(netlink::Prefix range) {
  if (!ranges_.cluster.contains(range.address)) {
    log::warn("app",
              "this node's pods have addresses outside of --cluster-cidr; delete its Node "
              "and start again to have it given others",
              {{"podCIDR", range.to_string()}});
  }
  SKIFF_CO_CHECK(co_await network_->start(range));
  std::set<std::string> live;
  for (const runtime::SandboxStatus& s : runtime_->list_sandboxes()) live.insert(s.id);
  SKIFF_CO_CHECK(co_await network_->recover(std::move(live)));
  co_return Result<void>();
}

Task<Result<void>> Worker::open_images() {
  runtime::ImageOptions image_options;
  image_options.root = options_.data_dir + "/images";
  image_options.default_registry = options_.default_registry;
  images_ = std::make_unique<runtime::ImageStore>(env_, std::move(image_options));
  runtime::ImageConfig demo = demo_image();
  images_->register_builtin(kDemoImage, own_executable(), std::move(demo));
  SKIFF_CO_CHECK(co_await images_->open());
  images_open_ = true;
  co_return Result<void>();
}

Task<Result<void>> Worker::make_kubelet(const Identity& identity) {
  SKIFF_CO_CHECK(co_await open_images());
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
  o.root_dir = options_.data_dir + "/kubelet";
  o.memory_dir = runtime_state_dir() + "/volumes";
  o.log_dir = options_.data_dir + "/logs";
  o.cluster_domain = options_.cluster_domain;
  o.version = kubernetes_version();
  o.default_registry = options_.default_registry;
  o.node_labels = {{"node-role.kubernetes.io/control-plane", ""}};
  o.port = static_cast<std::uint16_t>(options_.kubelet_port);
  o.bind_address = options_.bind_address;
  o.tls = kubelet_tls(identity);
  std::error_code ec;
  std::filesystem::create_directories(o.root_dir, ec);
  kubelet_ = std::make_unique<kubelet::Kubelet>(env_, client_, informers_, *runtime_, *images_,
                                                network_.get(), std::move(o));
  co_return Result<void>();
}

// Sockets need short paths, and what is below must vanish with the machine's next boot. Two
// servers with different data directories must not meet there.
std::string Worker::runtime_state_dir() const {
  const std::string base = ::geteuid() == 0 ? "/run/skiff" : options_.data_dir + "/run";
  if (options_.data_dir == default_data_dir()) return base;
  return base + "-" + pki::sha256_hex(options_.data_dir).substr(0, 8);
}

}  // namespace skiff::app
