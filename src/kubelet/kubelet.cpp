#include "skiff/kubelet/kubelet.hpp"

#include "node.hpp"
#include "node_api.hpp"
#include "pod_worker.hpp"

namespace skiff::kubelet {

namespace resources = client::resources;

namespace {

constexpr Duration kNetworkPatience = 5s;

client::ListOptions on_node(const std::string& node) {
  client::ListOptions options;
  options.field_selector = "spec.nodeName=" + node;
  return options;
}

http::ClientOptions probe_options() {
  http::ClientOptions options;
  options.tls.insecure_skip_verify = true;  // as upstream: a probe asks whether it answers, not who
  options.max_kept_per_host = 0;
  options.user_agent = "kube-probe/1.35";
  return options;
}

}  // namespace

class Kubelet::Impl {
 public:
  Impl(Env env, client::Client& client, client::InformerFactory& informers,
       runtime::Runtime& runtime, runtime::ImageStore& images, network::Network* network,
       Options options)
      : env_(env),
        options_(std::move(options)),
        runtime_(runtime),
        network_(network),
        objects_(env, client),
        volumes_(env, client, objects_, options_.root_dir, options_.memory_dir),
        events_(env, client, "kubelet", options_.node_name),
        puller_(env, images, objects_, events_, options_.default_registry),
        statuses_(env, client),
        node_(env, client, runtime, images, options_),
        probes_(env, probe_options()),
        services_(informers.get(resources::kServices)),
        pods_(env, client, resources::kPods, on_node(options_.node_name)),
        context_{env,     client,    runtime, network, options_,  objects_,           volumes_,
                 puller_, statuses_, events_, probes_, services_, node_.allocatable()},
        api_(
            env, options_, runtime, images,
            [this](const std::string& ns, const std::string& name) { return find(ns, name); },
            [this] { return list(); }),
        server_(env, api_, server_options()),
        worker_tasks_(env.executor) {}

  Task<Result<void>> start(TaskGroup& group) {
    SKIFF_CO_CHECK(server_.listen());
    listening_ = true;
    objects_.on_change([this](const std::string& uid) {
      const auto it = workers_.find(uid);
      if (it != workers_.end()) it->second->poke();
    });
    // Without a network pods on the host's still run.
    if (network_ != nullptr && !network_->ready()) {
      node_.set_network_ready(false, "this node has no range of pod addresses yet");
    }
    events_.start(group);
    group.spawn("kubelet statuses", statuses_.run());
    group.spawn("kubelet", run(&group));
    co_return Result<void>();
  }

  Task<void> stop() {
    stopping_ = true;  // the informer still runs: pods it tells of find nobody from now on
    if (listening_) co_await server_.stop(1s);
    worker_tasks_.cancel();
    co_await worker_tasks_.join();
    co_await objects_.stop();
  }

  Result<void> set_tls(http::TlsServerOptions tls) { return server_.set_tls(std::move(tls)); }

 private:
  http::ServerOptions server_options() const {
    http::ServerOptions o;
    o.address = options_.bind_address;
    o.port = options_.port;
    o.port_flag = "--kubelet-port";
    o.tls = options_.tls;
    o.name = "kubelet";
    return o;
  }

  Task<void> run(TaskGroup* group) {
    co_await node_.register_node();
    if (network_ != nullptr && !network_->ready()) {
      group->spawn("node network", await_network());
    }
    group->spawn("node status", node_.run());
    group->spawn("runtime events", follow_runtime());
    pods_.start(*group);
    co_await pods_.wait_synced();
    while (!services_.synced()) co_await services_.wait_synced();
    co_await adopt();
    pods_.add_handler([this](const ObjectPtr& old, const ObjectPtr& now) { on_pod(old, now); });
  }

  // The controller that gives a new node its range needs a moment: only after that the Node says it
  // is not ready, and has a taint put on it.
  Task<void> await_network() {
    const auto soon =
        co_await with_timeout(*env_.clock, kNetworkPatience, "pod network", network_->wait_ready());
    if (!soon) {
      log::warn("kubelet", "waiting for a range of pod addresses");
      co_await node_.report();
      co_await network_->wait_ready();
    }
    node_.set_network_ready(true, "");
    co_await node_.report();
  }

  // Hands what an earlier kubelet left to the pods it belongs to, and removes what belongs to
  // nobody.
  Task<void> adopt() {
    std::map<std::string, ObjectPtr> known;
    for (const auto& [key, pod] : pods_.all()) known[pod->uid()] = pod;
    std::vector<std::string> orphans;
    for (const runtime::SandboxStatus& sandbox : runtime_.list_sandboxes()) {
      const auto pod = known.find(sandbox.config.uid);
      if (pod == known.end()) {
        orphans.push_back(sandbox.id);
        continue;
      }
      std::vector<runtime::ContainerStatus> containers;
      for (runtime::ContainerStatus& c : runtime_.list_containers()) {
        if (c.sandbox_id == sandbox.id) containers.push_back(std::move(c));
      }
      worker(pod->second).adopt(sandbox, containers);
    }
    for (const std::string& id : orphans) {
      log::info("kubelet", "removing the sandbox of a pod that is gone", {{"sandbox", id}});
      if (network_ != nullptr) co_await network_->detach(id);
      const Result<void> removed = co_await runtime_.remove_sandbox(id);
      if (!removed) log::warn("kubelet", "sandbox not removed", {{"error", removed.error()}});
    }
    const std::vector<std::string> on_disk = co_await volumes_.pods_on_disk();
    for (const std::string& uid : on_disk) {
      if (!known.contains(uid)) co_await volumes_.tear_down(uid);
    }
  }

  PodWorker& worker(const ObjectPtr& pod) {
    auto& slot = workers_[pod->uid()];
    if (!slot) slot = std::make_shared<PodWorker>(context_, pod);
    return *slot;
  }

  void on_pod(const ObjectPtr& old, const ObjectPtr& now) {
    if (old && (!now || now->uid() != old->uid())) {
      const auto it = workers_.find(old->uid());
      if (it != workers_.end()) it->second->update(nullptr);
    }
    if (!now || stopping_) return;
    PodWorker& w = worker(now);
    if (running_.insert(now->uid()).second) {
      w.update(now);
      worker_tasks_.spawn("pod " + now->key().to_string(), live(workers_.at(now->uid())));
    } else {
      w.update(now);
    }
  }

  Task<void> live(std::shared_ptr<PodWorker> worker) {
    const std::string uid = worker->pod()->uid();
    co_await worker->run();
    running_.erase(uid);
    workers_.erase(uid);
  }

  Task<void> follow_runtime() {
    while (const auto event = co_await runtime_.next_event()) {
      if (event->type == runtime::RuntimeEvent::Type::resync) {
        for (const auto& [uid, w] : workers_) w->poke();
        continue;
      }
      const auto it = workers_.find(event->pod_uid);
      if (it != workers_.end()) it->second->poke();
    }
  }

  PodWorker* find(const std::string& ns, const std::string& name) {
    const ObjectPtr pod = pods_.get(ns, name);
    const auto it = pod ? workers_.find(pod->uid()) : workers_.end();
    return it != workers_.end() ? it->second.get() : nullptr;
  }

  std::vector<ObjectPtr> list() {
    std::vector<ObjectPtr> out;
    for (const auto& [key, pod] : pods_.all()) out.push_back(pod);
    return out;
  }

  Env env_;
  Options options_;
  runtime::Runtime& runtime_;
  network::Network* network_;
  ObjectWatches objects_;
  Volumes volumes_;
  client::EventRecorder events_;
  ImagePuller puller_;
  StatusWriter statuses_;
  NodeReporter node_;
  http::Client probes_;
  client::Informer& services_;
  client::Informer pods_;
  Context context_;
  NodeApi api_;
  http::Server server_;
  bool listening_ = false;
  bool stopping_ = false;
  std::map<std::string, std::shared_ptr<PodWorker>> workers_;  // by pod uid
  std::set<std::string> running_;
  TaskGroup worker_tasks_;
};

Kubelet::Kubelet(Env env, client::Client& client, client::InformerFactory& informers,
                 runtime::Runtime& runtime, runtime::ImageStore& images, network::Network* network,
                 Options options)
    : impl_(std::make_unique<Impl>(env, client, informers, runtime, images, network,
                                   std::move(options))) {}

Kubelet::~Kubelet() = default;

Task<Result<void>> Kubelet::start(TaskGroup& group) { return impl_->start(group); }

Task<void> Kubelet::stop() { return impl_->stop(); }

Result<void> Kubelet::set_tls(http::TlsServerOptions tls) { return impl_->set_tls(std::move(tls)); }

}  // namespace skiff::kubelet
