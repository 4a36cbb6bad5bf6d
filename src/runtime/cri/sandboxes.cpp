#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "body.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::runtime {
namespace {

using protocol::Frame;
using protocol::Message;
using protocol::Tag;
using protocol::Type;

constexpr Duration shim_answer_limit = 15s;
constexpr const char* qos_classes[] = {"guaranteed", "burstable", "besteffort"};

Result<void> check(const SandboxConfig& config) {
  auto plain = [](const std::string& s) {
    return !s.empty() && s.find('/') == std::string::npos && s != "." && s != "..";
  };
  if (!plain(config.uid)) return Error{Code::invalid, "sandbox: the pod's uid is missing"};
  if (std::find(std::begin(qos_classes), std::end(qos_classes), config.qos_class) ==
      std::end(qos_classes)) {
    return Error{Code::invalid, "sandbox: unknown QoS class \"" + config.qos_class + "\""};
  }
  if (!config.runtime_handler.empty()) {
    return Error{Code::not_found, "no runtime for \"" + config.runtime_handler +
                                      "\" is configured: use a RuntimeClass with an empty handler, "
                                      "or none"};
  }
  for (const auto& [name, value] : config.sysctls) {
    if (name.find("..") != std::string::npos || name.starts_with('/')) {
      return Error{Code::invalid, "sysctl \"" + name + "\" is not a name"};
    }
    bool network = name.starts_with("net.");
    bool ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") ||
               name == "kernel.sem" || name.starts_with("fs.mqueue.");
    if ((network && config.host_network) || (ipc && config.host_ipc) || (!network && !ipc)) {
      return Error{
          Code::invalid,
          "sysctl \"" + name + "\" is not namespaced, or the pod shares the host's namespace"};
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Runtime>> make_runtime(Env env, RuntimeOptions options) {
  if (options.state_dir.empty() || options.data_dir.empty() || options.shim_command.empty()) {
    return Error{Code::invalid, "runtime: state_dir, data_dir and shim_command are required"};
  }
  if (::geteuid() != 0) {
    return Error{Code::forbidden,
                 "running containers takes root: start skiff as root, or disable the kubelet "
                 "(`skiff check` says what this machine allows)"};
  }
  // Another skiff on this machine keeps its groups apart by its state directory.
  std::string name = "skiff";
  if (options.state_dir != "/run/skiff") {
    std::uint32_t hash = 2166136261U;  // FNV-1a
    for (char c : options.state_dir) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    char suffix[16];
    std::snprintf(suffix, sizeof suffix, "-%08x", hash);
    name += suffix;
  }
  SKIFF_TRY(auto cgroups, sys::make_cgroups(sys::real_system(), options.cgroup_parent, name));
  return std::unique_ptr<Runtime>(
      std::make_unique<RuntimeBody>(env, std::move(options), std::move(cgroups)));
}

RuntimeBody::RuntimeBody(Env env, RuntimeOptions options, std::unique_ptr<sys::Cgroups> cgroups)
    : env_(env),
      options_(std::move(options)),
      layout_{options_.state_dir, options_.data_dir},
      cgroups_(std::move(cgroups)),
      executor_(make_builtin_executor()),
      events_(env.executor, options_.max_events),
      tasks_(env.executor) {}

Task<void> RuntimeBody::close() {
  for (auto& [id, sandbox] : sandboxes_) {
    if (sandbox->shim) sandbox->shim->close();
  }
  events_.close();
  co_await tasks_.join();
}

RuntimeInfo RuntimeBody::info() const {
  RuntimeInfo info;
  info.ready = recovered_;
  if (!recovered_) info.message = "the runtime is still taking stock of what runs";
  return info;
}

std::string RuntimeBody::new_id() {
  std::uint8_t bytes[32];
  env_.random->fill(bytes);
  std::string id;
  for (auto b : bytes) {
    id.push_back("0123456789abcdef"[b >> 4U]);
    id.push_back("0123456789abcdef"[b & 15U]);
  }
  return id;
}

void RuntimeBody::announce(RuntimeEvent::Type type, const SandboxRecord& sandbox,
                           std::string container_id) {
  RuntimeEvent event;
  event.type = type;
  event.sandbox_id = sandbox.status.id;
  event.container_id = std::move(container_id);
  event.pod_uid = sandbox.status.config.uid;
  if (!events_.try_push(std::move(event)) && !events_.closed()) events_lost_ = true;
}

Task<std::optional<RuntimeEvent>> RuntimeBody::next_event() {
  if (events_lost_) {
    events_lost_ = false;
    while (events_.try_pop()) {
    }
    co_return RuntimeEvent{};
  }
  co_return co_await events_.pop();
}

Result<SandboxPtr> RuntimeBody::find_sandbox(const std::string& id) const {
  auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) return Error{Code::not_found, "sandbox \"" + id + "\" not found"};
  return it->second;
}

Result<SandboxStatus> RuntimeBody::sandbox_status(const std::string& id) const {
  SKIFF_TRY(SandboxPtr sandbox, find_sandbox(id));
  return sandbox->status;
}

std::vector<SandboxStatus> RuntimeBody::list_sandboxes() const {
  std::vector<SandboxStatus> out;
  for (const auto& [id, sandbox] : sandboxes_) out.push_back(sandbox->status);
  return out;
}

std::vector<std::string> RuntimeBody::containers_of(const std::string& sandbox_id) const {
  std::vector<std::string> out;
  for (const auto& [id, c] : containers_) {
    if (c->status.sandbox_id == sandbox_id) out.push_back(id);
  }
  return out;
}

Task<Result<std::string>> RuntimeBody::run_sandbox(SandboxConfig config) {
  return whole("run sandbox", do_run_sandbox(std::move(config)));
}

Task<Result<std::string>> RuntimeBody::do_run_sandbox(SandboxConfig config) {
  SKIFF_CO_CHECK(check(config));
  SandboxStart start;
  start.layout = layout_;
  start.config = config;
  start.id = new_id();
  start.created_at = env_.clock->wall();
  start.shim_command = options_.shim_command;
  start.cgroups = cgroups_.get();
  auto work = [start] { return start_sandbox(start); };
  SKIFF_CO_CHECK(co_await env_.blocking->run(work));

  auto sandbox = std::make_shared<SandboxRecord>(env_.executor);
  sandbox->status.id = start.id;
  sandbox->status.config = std::move(config);
  sandbox->status.created_at = start.created_at;
  if (!start.config.host_network) sandbox->status.netns_path = layout_.netns(start.id);
  Result<void> connected = co_await connect(sandbox, layout_.sandbox(start.id));
  if (connected) {
    connected = write_text(layout_.sandbox(start.id) + "/ready", "");
  }
  if (!connected) {
    if (sandbox->shim) sandbox->shim->close();
    co_await clear_half_made(start.id);
    co_return connected.error();
  }
  sandbox->status.state = SandboxState::ready;
  sandboxes_[start.id] = sandbox;
  announce(RuntimeEvent::Type::sandbox_started, *sandbox);
  co_return start.id;
}

// Connects and greets; the connection is read from then on.
Task<Result<void>> RuntimeBody::connect(SandboxPtr sandbox, std::string directory) {
  auto shim = std::make_shared<ShimClient>(env_.executor);
  SKIFF_CO_CHECK(shim->connect(directory));
  sandbox->shim = shim;
  auto on_exit = [this, weak = std::weak_ptr(sandbox)](const Message& m) {
    if (auto s = weak.lock()) note_exit(s, m);
  };
  auto on_lost = [this, weak = std::weak_ptr(sandbox)] {
    if (auto s = weak.lock()) shim_lost(s);
  };
  tasks_.spawn("shim reader", ShimClient::run(shim, std::move(on_exit), std::move(on_lost)));
  auto request = shim->next_request();
  std::string frame = Frame(Type::hello, request).put(Tag::version, protocol::version).finish();
  auto hello = shim->call(request, std::move(frame));
  auto answer = co_await with_timeout(*env_.clock, shim_answer_limit, "greeting the pod's shim",
                                      std::move(hello));
  if (!answer) {
    shim->close();
    co_return answer.error();
  }
  sandbox->status.shim_pid = static_cast<int>((*answer)->message.number(Tag::pid));
  sandbox->pause_pid = static_cast<int>((*answer)->message.number(Tag::pause_pid));
  co_return Result<void>();
}

// The connection is gone: by our own doing, or because the shim died.
void RuntimeBody::shim_lost(const SandboxPtr& sandbox) {
  sandbox->status.shim_pid = 0;
  if (sandbox->stopping || events_.closed() || sandbox->status.state != SandboxState::ready) return;
  log::warn("runtime", "a pod's shim has died; its containers are killed",
            {{"sandbox", sandbox->status.id}, {"pod", sandbox->status.config.name}});
  // Nothing holds the namespaces any more; containers that still run have no parent to speak of.
  tasks_.spawn("clear after shim", [](RuntimeBody* self, SandboxPtr s) -> Task<void> {
    auto stopped = co_await self->do_stop_sandbox(s);
    if (!stopped) {
      log::error("runtime", "clearing up after a dead shim", {{"error", stopped.error()}});
    }
  }(this, sandbox));
}

Task<Result<void>> RuntimeBody::stop_sandbox(std::string id) {
  auto sandbox = find_sandbox(id);
  if (!sandbox) co_return Result<void>();
  co_return co_await whole("stop sandbox", do_stop_sandbox(*sandbox));
}

// Asks the shim to kill everything and end; when it does not answer, ends it.
Task<Result<void>> RuntimeBody::end_shim(SandboxPtr sandbox) {
  auto shim = sandbox->shim;
  if (!shim || !shim->connected()) co_return Result<void>();
  auto request = shim->next_request();
  std::string frame = Frame(Type::shutdown, request).finish();
  auto call = shim->call(request, std::move(frame));
  auto answer = co_await with_timeout(*env_.clock, shim_answer_limit, "ending the pod's shim",
                                      std::move(call));
  if (!answer && answer.error().code == Code::timeout && sandbox->status.shim_pid > 0) {
    log::warn("runtime", "a pod's shim does not end and is killed",
              {{"sandbox", sandbox->status.id}});
    ::kill(sandbox->status.shim_pid, SIGKILL);
  }
  shim->close();
  co_return Result<void>();
}

Task<Result<void>> RuntimeBody::do_stop_sandbox(SandboxPtr sandbox) {
  auto guard = co_await sandbox->lock.acquire();
  if (sandbox->released) co_return Result<void>();
  sandbox->stopping = true;
  SKIFF_CO_CHECK(co_await end_shim(sandbox));
  const std::string id = sandbox->status.id;
  auto containers = containers_of(id);
  auto work = [layout = layout_, config = sandbox->status.config, id, containers,
               cgroups = cgroups_.get()]() -> Result<void> {
    SKIFF_CHECK(release_sandbox(layout, config, id, containers, *cgroups));
    return write_text(layout.sandbox(id) + "/stopped", "");
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(work));
  sandbox->released = true;
  sandbox->shim.reset();
  sandbox->status.shim_pid = 0;
  const bool was_ready = sandbox->status.state == SandboxState::ready;
  sandbox->status.state = SandboxState::not_ready;
  // A shim that died could not say how they ended.
  for (const auto& cid : containers) {
    auto it = containers_.find(cid);
    if (it == containers_.end() || it->second->status.state != ContainerState::running) continue;
    load_container(sandbox, cid);
    announce(RuntimeEvent::Type::container_exited, *sandbox, cid);
  }
  if (was_ready) announce(RuntimeEvent::Type::sandbox_stopped, *sandbox);
  co_return Result<void>();
}

Task<Result<void>> RuntimeBody::remove_sandbox(std::string id) {
  return whole("remove sandbox", do_remove_sandbox(std::move(id)));
}

Task<Result<void>> RuntimeBody::do_remove_sandbox(std::string id) {
  auto sandbox = find_sandbox(id);
  if (!sandbox) co_return Result<void>();
  SKIFF_CO_CHECK(co_await do_stop_sandbox(*sandbox));
  for (const auto& c : containers_of(id)) SKIFF_CO_CHECK(co_await do_remove_container(c));
  const SandboxConfig config = (*sandbox)->status.config;
  bool alone = std::none_of(sandboxes_.begin(), sandboxes_.end(), [&](const auto& other) {
    return other.first != id && other.second->status.config.uid == config.uid;
  });
  auto work = [layout = layout_, config, id, alone, cgroups = cgroups_.get()]() -> Result<void> {
    if (alone) SKIFF_CHECK(cgroups->remove(pod_group(config)));
    // Without its record it is half-made, should we be interrupted: recover() removes the rest.
    ::unlink((layout.sandbox(id) + "/ready").c_str());
    return remove_all(layout.sandbox(id));
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(work));
  if (sandboxes_.erase(id) > 0) announce(RuntimeEvent::Type::sandbox_removed, **sandbox);
  co_return Result<void>();
}

Task<Result<void>> RuntimeBody::update_sandbox_resources(std::string id, Resources resources) {
  auto found = find_sandbox(id);
  if (!found) co_return found.error();
  SandboxPtr sandbox = *found;
  auto guard = co_await sandbox->lock.acquire();
  auto work = [group = pod_group(sandbox->status.config), resources, cgroups = cgroups_.get()] {
    return cgroups->set_limits(group, cgroup_limits(resources));
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(work));
  sandbox->status.config.resources = resources;
  co_return Result<void>();
}

}  // namespace skiff::runtime
