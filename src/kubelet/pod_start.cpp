// How a pod's sandbox and containers come up.
#include <filesystem>
#include <fstream>

#include "container_config.hpp"
#include "pod_worker.hpp"

namespace skiff::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr Duration kFirstBackOff = 10s;
constexpr Duration kMaxBackOff = 300s;
constexpr Duration kForgiven = 600s;  // a container that ran this long starts with a clean slate

std::string container_path(const Value& pod, const std::string& container) {
  const bool init = find_named(pod["spec"]["initContainers"], container) != nullptr;
  return std::string(init ? "spec.initContainers{" : "spec.containers{") + container + "}";
}

Result<void> write_text(const std::string& path, const std::string& text, int mode) {
  std::error_code ec;
  fs::create_directories(fs::path(path).parent_path(), ec);
  std::ofstream out(path, std::ios::trunc);
  out << text;
  out.close();
  if (!out) return errno_error(errno, "write " + path);
  fs::permissions(path, static_cast<fs::perms>(mode), ec);
  return {};
}

std::string whole_seconds(Duration d) {
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(d).count();
  return s >= 60 ? std::to_string(s / 60) + "m" + std::to_string(s % 60) + "s"
                 : std::to_string(s) + "s";
}

}  // namespace

// Picks up the address of a sandbox that an earlier kubelet made. One that is dead, or cannot be
// given a network, is left to create_sandbox().
Task<void> PodWorker::take_up_sandbox() {
  const auto sandbox = ctx_.runtime.sandbox_status(sandbox_id_);
  if (!sandbox || sandbox->state != runtime::SandboxState::ready) co_return;
  if (is_host_network(pod_->root())) {
    volumes_ready_ = true;
    co_return;
  }
  if (ctx_.network == nullptr) co_return;
  const std::string netns = sandbox->netns_path;
  const Result<network::PodAddress> address = co_await ctx_.network->attach(sandbox_id_, netns);
  if (!address) {
    log::warn("kubelet", "sandbox has no network",
              {{"pod", pod_->key().to_string()}, {"error", address.error()}});
    co_return;
  }
  pod_ip_ = address->address.to_string();
  volumes_ready_ = true;
  // Volumes stand already; using them again declares what this pod wants to hear of.
  const Result<void> fresh = co_await ctx_.volumes.set_up(pod_, ctx_.sources(pod_ip_));
  if (!fresh) log::warn("kubelet", "volumes not refreshed", {{"error", fresh.error()}});
}

Task<Result<void>> PodWorker::create_sandbox() {
  if (!sandbox_id_.empty()) {  // the last one died, and all its containers with it
    co_await stop_all();
    if (ctx_.network != nullptr) {
      const std::string dead = sandbox_id_;
      co_await ctx_.network->detach(dead);
    }
    const std::string old = std::exchange(sandbox_id_, "");
    co_await ctx_.runtime.stop_sandbox(old);
    retired_.push_back(old);
    if (retired_.size() > 2) {
      const std::string oldest = retired_.front();
      retired_.erase(retired_.begin());
      co_await ctx_.runtime.remove_sandbox(oldest);
    }
    ctx_.events.event(*pod_, "Normal", "SandboxChanged",
                      "Pod sandbox changed, it will be killed and re-created.");
    ++sandbox_attempt_;
    pod_ip_.clear();
  }
  if (!volumes_ready_) {
    const Result<void> volumes = co_await ctx_.volumes.set_up(pod_, ctx_.sources(pod_ip_));
    if (!volumes) {
      ctx_.events.event(*pod_, "Warning", "FailedMount", volumes.error().message);
      co_return volumes.error();
    }
    volumes_ready_ = true;
  }
  const auto refuse = [&](const Error& error) {
    ctx_.events.event(*pod_, "Warning", "FailedCreatePodSandBox",
                      "Failed to create pod sandbox: " + error.message);
    return error;
  };
  if (!is_host_network(pod_->root()) && ctx_.network == nullptr) {
    co_return refuse({Code::unavailable,
                      "this node has no pod network (skiff check says why); only pods with "
                      "hostNetwork can run here"});
  }
  runtime::SandboxConfig config = sandbox_config(pod_->root(), ctx_.options, sandbox_attempt_);
  Result<std::string> id = co_await ctx_.runtime.run_sandbox(std::move(config));
  if (!id) co_return refuse(id.error());
  sandbox_id_ = *id;
  if (is_host_network(pod_->root())) co_return Result<void>();
  const auto sandbox = ctx_.runtime.sandbox_status(sandbox_id_);
  Result<network::PodAddress> address = Error{Code::unavailable, "the sandbox is gone"};
  if (sandbox) {
    const std::string netns = sandbox->netns_path;
    address = co_await ctx_.network->attach(sandbox_id_, netns);
  }
  if (!address) {
    const std::string failed = std::exchange(sandbox_id_, "");
    ++sandbox_attempt_;
    co_await ctx_.runtime.remove_sandbox(failed);
    co_return refuse(annotate(address.error(), "failed to set up pod network"));
  }
  pod_ip_ = address->address.to_string();
  co_return Result<void>();
}

Task<TimePoint> PodWorker::start_all(std::vector<std::string> names) {
  TimePoint next = TimePoint::max();
  for (const std::string& name : names) {
    if (stopping()) break;
    const StartTry attempt = co_await start_container(name);
    if (attempt.started) {
      waiting_.erase(name);
      dirty_ = true;
    } else {
      next = std::min(next, attempt.retry_at);
    }
  }
  co_return next;
}

// When a container that ended may run again; empty: now.
std::optional<TimePoint> PodWorker::restart_delay(const Value& container) {
  const std::string& name = container["name"].as_string();
  const auto last = instance(name, false);
  if (!last || last->state != runtime::ContainerState::exited) return std::nullopt;
  BackOff& back_off = back_off_[name];
  const TimePoint now = env_.clock->now();
  if (back_off.for_id != last->id) {
    // A new end. How long ago it was only the calendar knows.
    const bool ran_long = last->started_at && last->finished_at &&
                          *last->finished_at - *last->started_at >= kForgiven;
    if (ran_long) back_off.count = 0;
    const Duration ago =
        last->finished_at ? Duration(env_.clock->wall() - *last->finished_at) : Duration(0);
    const Duration delay =
        back_off.count == 0
            ? Duration(0)
            : std::min<Duration>(kFirstBackOff * (1 << std::min(back_off.count - 1, 5)),
                                 kMaxBackOff);
    back_off.for_id = last->id;
    back_off.until = now + delay - std::clamp<Duration>(ago, Duration(0), delay);
    ++back_off.count;
    if (delay > Duration(0)) {
      const std::string what = "container=" + name + " pod=" + pod_label(pod_->root());
      set_waiting(name, "CrashLoopBackOff",
                  "back-off " + whole_seconds(delay) + " restarting failed " + what);
      ctx_.events.event(
          *pod_, "Warning", "BackOff",
          "Back-off restarting failed container " + name + " in pod " + pod_label(pod_->root()),
          container_path(pod_->root(), name));
    }
  }
  if (back_off.until <= now) return std::nullopt;
  return back_off.until;
}

Task<void> PodWorker::wait_stopping() {
  while (!stopping()) co_await changed_.wait();
}

// The image, or why there is none; empty when the pod is to end meanwhile.
Task<std::optional<PullOutcome>> PodWorker::pull(std::string name) {
  if (co_await ctx_.puller.would_pull(pod_, name)) publish();  // it may take a while
  Task<PullOutcome> pulling = ctx_.puller.ensure(pod_, name);
  co_return co_await race_for(std::move(pulling), wait_stopping());
}

Task<PodWorker::StartTry> PodWorker::start_container(std::string name) {
  StartTry result;
  const Value* container = find_container(pod_->root(), name);
  if (container == nullptr) {
    result.retry_at = TimePoint::max();
    co_return result;
  }
  if (const auto later = restart_delay(*container)) {
    result.retry_at = *later;
    co_return result;
  }
  std::optional<PullOutcome> outcome = co_await pull(name);
  if (!outcome) co_return result;
  if (!outcome->image) {
    set_waiting(name, outcome->problem.reason, outcome->problem.message);
    result.retry_at = outcome->problem.retry_at;
    co_return result;
  }
  runtime::Image image = std::move(*outcome->image);
  const Result<void> launched = co_await launch(name, std::move(image));
  result.started = launched.has_value();
  if (!launched) result.retry_at = env_.clock->now() + 10s;
  // What ended at once is dealt with like any other container that ended.
  const auto now = instance(name, false);
  if (!launched && now && now->state == runtime::ContainerState::exited) {
    result.retry_at = env_.clock->now();
    dirty_ = true;
  }
  co_return result;
}

Task<Result<void>> PodWorker::launch(std::string name, runtime::Image image) {
  const ObjectPtr pod = pod_;  // a newer state may take its place at every co_await
  const std::string path = container_path(pod->root(), name);
  const auto refuse = [&](const char* reason, const Error& error) {
    set_waiting(name, reason, error.message);
    ctx_.events.event(*pod, "Warning", "Failed", "Error: " + error.message, path);
    return error;
  };
  Result<Environment> environment =
      co_await make_environment(pod, name, ctx_.sources(pod_ip_), &ctx_.objects);
  if (!environment) co_return refuse("CreateContainerConfigError", environment.error());
  const Value& container = *find_container(pod->root(), name);
  auto config = container_config(pod->root(), container, image, *environment);
  if (!config) co_return refuse("CreateContainerConfigError", config.error());
  auto mounts = ctx_.volumes.mounts(pod->root(), container, *environment);
  if (!mounts) co_return refuse("CreateContainerConfigError", mounts.error());
  auto& list = instances_[name];
  const int attempt = list.empty() ? 0 : list.back().attempt + 1;
  auto extra = co_await extra_mounts(name, attempt);
  if (!extra) co_return refuse("CreateContainerError", extra.error());
  config->mounts = std::move(*mounts);
  for (runtime::Mount& m : *extra) config->mounts.push_back(std::move(m));
  config->attempt = static_cast<std::uint32_t>(attempt);
  config->log_path = name + "/" + std::to_string(attempt) + ".log";

  runtime::ContainerConfig final_config = std::move(*config);
  const std::string sandbox = sandbox_id_;
  Result<std::string> id = co_await ctx_.runtime.create_container(sandbox, std::move(final_config));
  if (!id) co_return refuse("CreateContainerError", id.error());
  ctx_.events.event(*pod_, "Normal", "Created", "Container created", path);
  const std::string container_id = *id;
  instances_[name].push_back({container_id, attempt});
  const Result<void> started = co_await ctx_.runtime.start_container(container_id);
  if (!started) co_return refuse("RunContainerError", started.error());
  ctx_.events.event(*pod_, "Normal", "Started", "Container started", path);
  co_await forget_old_instances(name);
  if (container["lifecycle"].has("postStart")) co_await run_post_start(pod, name, container_id);
  co_return Result<void>();
}

// /etc/hosts and the termination message, both plain files of this pod.
Task<Result<std::vector<runtime::Mount>>> PodWorker::extra_mounts(std::string name, int attempt) {
  const Value& root = pod_->root();
  const Value& container = *find_container(root, name);
  const std::string base = ctx_.volumes.pod_directory(pod_->uid());
  std::vector<runtime::Mount> mounts;
  const auto has_mount = [&](const std::string& path) {
    for (const Value& m : container["volumeMounts"].items()) {
      if (m["mountPath"].as_string() == path) return true;
    }
    return false;
  };
  std::string hosts;
  if (!is_host_network(root) && !has_mount("/etc/hosts")) {
    hosts = hosts_file(root, pod_ip_, ctx_.options.cluster_domain);
    runtime::Mount m;
    m.container_path = "/etc/hosts";
    m.host_path = base + "/etc-hosts";
    mounts.push_back(std::move(m));
  }
  const std::string& message_path = container["terminationMessagePath"].as_string();
  const std::string message_file = base + "/containers/" + name + "/" + std::to_string(attempt);
  if (!message_path.empty()) {
    runtime::Mount m;
    m.container_path = message_path;
    m.host_path = message_file;
    mounts.push_back(std::move(m));
  }
  auto write = [hosts, hosts_path = base + "/etc-hosts", message_file,
                with_message = !message_path.empty()]() -> Result<void> {
    if (!hosts.empty()) SKIFF_CHECK(write_text(hosts_path, hosts, 0644));
    if (with_message) SKIFF_CHECK(write_text(message_file, "", 0666));
    return {};
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(std::move(write)));
  co_return mounts;
}

Task<void> PodWorker::run_post_start(ObjectPtr pod, std::string name, std::string id) {
  const Value* hook = &(*find_container(pod->root(), name))["lifecycle"]["postStart"];
  // A hook that never ends must not hold up the end of the pod.
  Task<Result<void>> running = run_hook(pod, name, id, hook, Duration(0));
  const auto ended = co_await race_for(std::move(running), wait_stopping());
  if (!ended || *ended) co_return;
  ctx_.events.event(*pod, "Warning", "FailedPostStartHook",
                    "PostStartHook failed: " + ended->error().message,
                    container_path(pod->root(), name));
  co_await stop_container(name, id, grace_period(), false);
}

// The newest instance and the one before stay: for `kubectl logs --previous` and lastState.
Task<void> PodWorker::forget_old_instances(std::string name) {
  auto& list = instances_[name];
  while (list.size() > 2) {
    const std::string id = list.front().id;
    messages_.erase(id);
    list.erase(list.begin());
    co_await ctx_.runtime.remove_container(id);
  }
}

}  // namespace skiff::kubelet
