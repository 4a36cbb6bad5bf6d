// How a pod's containers, sandbox and files go away.
#include <filesystem>
#include <fstream>

#include "container_config.hpp"
#include "logs.hpp"
#include "pod_worker.hpp"

namespace skiff::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxMessage = 4096;

std::string read_tail(const std::string& path, std::size_t limit) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<std::size_t>(in.tellg());
  std::string out(std::min(size, limit), '\0');
  in.seekg(static_cast<std::streamoff>(size - out.size()));
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  return out;
}

// The message that the API shows for this instance already.
std::string reported_message(const Value& pod, const std::string& container_id) {
  for (const char* list : {"containerStatuses", "initContainerStatuses"}) {
    for (const Value& status : pod["status"][list].items()) {
      for (const char* state : {"state", "lastState"}) {
        const Value& ended = status[state]["terminated"];
        if (ended["containerID"].as_string() == "skiff://" + container_id) {
          return ended["message"].as_string();
        }
      }
    }
  }
  return "";
}

}  // namespace

Duration PodWorker::grace_period() const {
  const Value& deleting = pod_->metadata()["deletionGracePeriodSeconds"];
  if (gone_) return Duration(0);
  if (deleting.is_int()) return std::chrono::seconds(deleting.as_int());
  return std::chrono::seconds((*pod_)["spec"]["terminationGracePeriodSeconds"].as_int(30));
}

Task<Result<void>> PodWorker::run_hook(ObjectPtr pod, std::string name, std::string id,
                                       const Value* hook, Duration limit) {
  if (hook->has("exec")) {
    std::vector<std::string> command;
    for (const Value& part : (*hook)["exec"]["command"].items())
      command.push_back(part.as_string());
    const Result<runtime::ExecResult> result =
        co_await ctx_.runtime.exec_sync(id, std::move(command), limit);
    if (!result) co_return result.error();
    if (result->exit_code == 0) co_return Result<void>();
    co_return Error{Code::unavailable, "command exited with " + std::to_string(result->exit_code) +
                                           ": " + result->out + result->err};
  }
  if (hook->has("sleep")) {
    const Duration pause = std::chrono::seconds((*hook)["sleep"]["seconds"].as_int());
    co_await env_.clock->sleep_for(limit > Duration(0) ? std::min(pause, limit) : pause);
    co_return Result<void>();
  }
  if (!hook->has("httpGet")) co_return Result<void>();
  const Value& get = (*hook)["httpGet"];
  SKIFF_CO_TRY(const std::int64_t port, port_of(get["port"], *find_container(pod->root(), name)));
  const std::string own = is_host_network(pod->root()) ? ctx_.options.node_ip : pod_ip_;
  const std::string host(get["host"].as_string_or(own));
  const std::string& path = get["path"].as_string();
  http::ClientRequest request;
  request.url = (get["scheme"].as_string() == "HTTPS" ? "https://" : "http://") +
                host_port(host, port) + (path.rfind('/', 0) == 0 ? "" : "/") + path;
  if (limit > Duration(0)) request.timeout = limit;
  request.max_body = 10 << 10;
  for (const Value& h : get["httpHeaders"].items()) {
    request.headers.set(h["name"].as_string(), h["value"].as_string());
  }
  const Result<http::ClientResponse> answer = co_await ctx_.probes.request(std::move(request));
  if (!answer && answer.error().code != Code::too_large) co_return answer.error();
  co_return Result<void>();  // as upstream: any answer will do
}

Task<void> PodWorker::stop_container(std::string name, std::string id, Duration grace, bool hook) {
  const ObjectPtr pod = pod_;  // a newer state may take its place meanwhile
  const Value* container = find_container(pod->root(), name);
  const Value* pre_stop = container != nullptr ? &(*container)["lifecycle"]["preStop"] : nullptr;
  const TimePoint began = env_.clock->now();
  if (hook && pre_stop != nullptr && pre_stop->is_object() && grace > Duration(0)) {
    const Result<void> done = co_await run_hook(pod, name, id, pre_stop, grace);
    if (!done) {
      ctx_.events.event(*pod, "Warning", "FailedPreStopHook",
                        "PreStopHook failed: " + done.error().message);
    }
  }
  // Whatever the hook used up, the process gets two seconds to end by itself.
  const Duration left = grace > Duration(0)
                            ? std::max<Duration>(grace - (env_.clock->now() - began), Duration(2s))
                            : Duration(0);
  const Result<void> stopped = co_await ctx_.runtime.stop_container(id, left);
  if (!stopped) {
    log::warn("kubelet", "container not stopped",
              {{"pod", pod_->key().to_string()}, {"container", name}, {"error", stopped.error()}});
  }
}

Task<void> PodWorker::kill(std::vector<Kill> kills) {
  for (const Kill& k : kills) {
    ctx_.events.event(*pod_, "Normal", "Killing", k.message, "spec.containers{" + k.name + "}");
    const Value* container = find_container(pod_->root(), k.name);
    Duration grace = grace_period();
    for (const char* probe : {"livenessProbe", "startupProbe"}) {
      if (container == nullptr) continue;
      const Value& own = (*container)[probe]["terminationGracePeriodSeconds"];
      if (own.is_int()) grace = std::chrono::seconds(own.as_int());
    }
    co_await stop_container(k.name, k.id, grace, true);
    prober_.forget(k.name);
  }
}

// Counts down in `left` and wakes stop_all().
Task<void> PodWorker::stop_and_count(std::string name, std::string id, Duration grace,
                                     std::shared_ptr<int> left) {
  co_await stop_container(name, id, grace, true);
  --*left;
  poke();
}

// All containers at once, sidecars after the others and in reverse order (KEP-753), within one
// grace period. A second deletion may shorten it meanwhile.
Task<void> PodWorker::stop_all() {
  const TimePoint end = env_.clock->now() + grace_period();
  const auto left = std::make_shared<int>(0);
  std::vector<std::pair<std::string, std::string>> sidecars;
  for (const auto& [name, list] : instances_) {
    const auto status = instance(name, false);
    if (!status || status->state != runtime::ContainerState::running) continue;
    const Value* init = find_named((*pod_)["spec"]["initContainers"], name);
    if (init != nullptr && is_sidecar(*init)) continue;
    ctx_.events.event(*pod_, "Normal", "Killing", "Stopping container " + name,
                      "spec.containers{" + name + "}");
    ++*left;
    tasks_.spawn("stop " + name, stop_and_count(name, status->id, grace_period(), left));
  }
  for (const Value& c : (*pod_)["spec"]["initContainers"].items()) {
    const auto status = instance(c["name"].as_string(), false);
    if (is_sidecar(c) && status && status->state == runtime::ContainerState::running) {
      sidecars.emplace_back(c["name"].as_string(), status->id);
    }
  }
  Duration told = grace_period();
  while (*left > 0) {
    if (grace_period() < told) {
      told = grace_period();
      for (const auto& [name, list] : instances_) {
        const auto status = instance(name, false);
        if (status && status->state == runtime::ContainerState::running) {
          tasks_.spawn("hurry " + name, stop_container(name, status->id, told, false));
        }
      }
    }
    co_await changed_.wait();
  }
  for (auto it = sidecars.rbegin(); it != sidecars.rend(); ++it) {
    const Duration rest = std::max<Duration>(end - env_.clock->now(), Duration(2s));
    const std::string name = it->first;
    const std::string id = it->second;
    co_await stop_container(name, id, std::min<Duration>(rest, grace_period()), true);
  }
}

// Frees everything but the containers' records and logs. False when something resists.
Task<bool> PodWorker::clean_up() {
  bool clean = true;
  if (!sandbox_id_.empty()) {
    const std::string id = sandbox_id_;
    if (ctx_.network != nullptr && !is_host_network(pod_->root())) {
      const Result<void> detached = co_await ctx_.network->detach(id);
      clean = clean && detached;
    }
    const Result<void> stopped = co_await ctx_.runtime.stop_sandbox(id);
    if (!stopped) {
      log::warn("kubelet", "sandbox not stopped",
                {{"pod", pod_->key().to_string()}, {"error", stopped.error()}});
      clean = false;
    }
  }
  const Result<void> volumes = co_await ctx_.volumes.tear_down(pod_->uid());
  if (!volumes) {
    log::warn("kubelet", "volumes not removed",
              {{"pod", pod_->key().to_string()}, {"error", volumes.error()}});
    clean = false;
  }
  volumes_ready_ = false;
  co_return clean;
}

Task<void> PodWorker::terminate() {
  co_await stop_all();
  co_await read_termination_messages();
  std::optional<Value> last;
  // A pod that ended before keeps what was said of it then, also if finalizers hold it: whoever
  // looks at it again has no instances to tell from.
  if (!gone_ && !(over_in_api() && instances_.empty())) last = status(true);
  for (int attempt = 0; !co_await clean_up() && attempt < 60; ++attempt) {
    co_await env_.clock->sleep_for(1s);
  }
  if (!sandbox_id_.empty()) retired_.push_back(sandbox_id_);
  for (const std::string& id : retired_) co_await ctx_.runtime.remove_sandbox(id);
  auto remove_logs = [path = ctx_.options.log_dir + "/" + log_directory_name(pod_->root())] {
    std::error_code ec;
    fs::remove_all(path, ec);
  };
  co_await env_.blocking->run(std::move(remove_logs));
  ctx_.puller.forget(pod_->uid());
  while (!gone_) {
    std::optional<Value> final_status = last;
    const Result<void> done = co_await ctx_.statuses.finish(pod_, std::move(final_status));
    if (done) break;
    log::warn("kubelet", "pod not removed from the API",
              {{"pod", pod_->key().to_string()}, {"error", done.error()}});
    co_await env_.clock->sleep_for(1s);
  }
  ctx_.statuses.forget(pod_->uid());
}

Task<void> PodWorker::read_termination_messages() {
  for (const auto& [name, list] : instances_) {
    const auto status = instance(name, false);
    if (!status || status->state != runtime::ContainerState::exited ||
        messages_.contains(status->id)) {
      continue;
    }
    const Value* container = find_container(pod_->root(), name);
    const bool from_log =
        status->exit_code != 0 && container != nullptr &&
        (*container)["terminationMessagePolicy"].as_string() == "FallbackToLogsOnError";
    auto read = [file = ctx_.volumes.pod_directory(pod_->uid()) + "/containers/" + name + "/" +
                        std::to_string(status->config.attempt),
                 log = status->log_path, from_log] {
      std::string text = read_tail(file, kMaxMessage);
      if (text.empty() && from_log) text = log_tail(log, 80, 2048);
      return text;
    };
    const std::string id = status->id;
    std::string text = co_await env_.blocking->run(std::move(read));
    // The file goes with the pod's directory; what was reported once stays so.
    if (text.empty()) text = reported_message(pod_->root(), id);
    messages_[id] = std::move(text);
  }
}

}  // namespace skiff::kubelet
