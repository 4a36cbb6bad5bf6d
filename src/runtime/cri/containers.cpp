#include <algorithm>
#include <cerrno>
#include <csignal>

#include "body.hpp"
#include "codec.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::runtime {
namespace {

using protocol::Frame;
using protocol::Message;
using protocol::Tag;
using protocol::Type;

constexpr Duration kill_limit = 10s;  // how long the kernel may take to end a killed process
constexpr int start_error_code = 128;

WallTime from_nanoseconds(std::int64_t ns) {
  return WallTime{std::chrono::duration_cast<std::chrono::microseconds>(Duration{ns})};
}

std::string absolute_log_path(const SandboxConfig& sandbox, const ContainerConfig& c) {
  return c.log_path.empty() ? "" : sandbox.log_directory + "/" + c.log_path;
}

int stop_signal(const ContainerConfig& c) {
  for (const auto& name : {c.stop_signal, c.image_config.stop_signal}) {
    if (int number = sys::parse_signal(name)) return number;
  }
  return SIGTERM;
}

ExitRecord to_record(const Message& m) {
  ExitRecord r;
  r.pid = static_cast<int>(m.number(Tag::pid));
  r.started_at = static_cast<std::int64_t>(m.number(Tag::started_at));
  r.finished_at = static_cast<std::int64_t>(m.number(Tag::finished_at));
  r.exit_code = static_cast<int>(m.number(Tag::exit_code));
  r.signal = static_cast<int>(m.number(Tag::signal));
  r.oom = m.number(Tag::oom) != 0;
  r.message = m.text(Tag::message);
  return r;
}

std::string start_frame(std::uint64_t request, const ContainerStart& s, const LaunchPlan& plan) {
  const ContainerConfig& c = s.config;
  std::uint64_t flags = 0;
  if (c.stdin_open) flags |= protocol::flag_stdin;
  if (c.stdin_once) flags |= protocol::flag_stdin_once;
  if (plan.tty) flags |= protocol::flag_tty;
  Frame frame(Type::start, request);
  frame.put(Tag::container, s.id);
  frame.put(Tag::directory, s.layout.container(s.sandbox_id, s.id));
  frame.put(Tag::log_path, absolute_log_path(s.sandbox, c));
  frame.put(Tag::log_max_bytes, c.log_max_bytes);
  frame.put(Tag::log_max_files, static_cast<std::uint64_t>(c.log_max_files));
  frame.put(Tag::flags, flags);
  frame.put(Tag::clone_flags, plan.clone_flags);
  frame.put(Tag::cgroup_directory, plan.cgroup_directory);
  frame.put(Tag::oom_file, s.cgroups->entry(container_group(s.sandbox, s.id)).oom_file);
  frame.put(Tag::pid_namespace, plan.pid_namespace);
  frame.put(Tag::steps, plan.steps);
  return frame.finish();
}

}  // namespace

Result<ContainerPtr> RuntimeBody::find_container(const std::string& id) const {
  auto it = containers_.find(id);
  if (it == containers_.end()) return Error{Code::not_found, "container \"" + id + "\" not found"};
  return it->second;
}

Result<ContainerStatus> RuntimeBody::container_status(const std::string& id) const {
  SKIFF_TRY(ContainerPtr c, find_container(id));
  return c->status;
}

std::vector<ContainerStatus> RuntimeBody::list_containers() const {
  std::vector<ContainerStatus> out;
  for (const auto& [id, c] : containers_) out.push_back(c->status);
  return out;
}

ContainerStart RuntimeBody::container_start(const SandboxRecord& sandbox,
                                            const ContainerRecord& c) const {
  ContainerStart start;
  start.layout = layout_;
  start.sandbox = sandbox.status.config;
  start.sandbox_id = sandbox.status.id;
  start.shim_pid = sandbox.status.shim_pid;
  start.pause_pid = sandbox.pause_pid;
  start.config = c.status.config;
  start.id = c.status.id;
  start.created_at = c.status.created_at;
  start.overlay = c.overlay;
  start.seccomp_root = options_.seccomp_profile_root;
  start.cgroups = cgroups_.get();
  start.executor = executor_.get();
  return start;
}

Task<Result<std::string>> RuntimeBody::create_container(std::string sandbox_id,
                                                        ContainerConfig config) {
  return whole("create container", do_create_container(std::move(sandbox_id), std::move(config)));
}

Task<Result<std::string>> RuntimeBody::do_create_container(std::string sandbox_id,
                                                           ContainerConfig config) {
  auto found = find_sandbox(sandbox_id);
  if (!found) co_return found.error();
  SandboxPtr sandbox = *found;
  // Not beside the sandbox's end, which would leave this container behind.
  auto guard = co_await sandbox->lock.acquire();
  if (sandbox->status.state != SandboxState::ready) {
    co_return Error{Code::conflict, "sandbox \"" + sandbox_id + "\" is not ready"};
  }
  auto c = std::make_shared<ContainerRecord>(env_.executor);
  c->status.id = new_id();
  c->status.sandbox_id = sandbox_id;
  c->status.created_at = env_.clock->wall();
  c->status.log_path = absolute_log_path(sandbox->status.config, config);
  c->status.config = std::move(config);
  c->overlay = overlay_;
  auto work = [start = container_start(*sandbox, *c)] { return prepare_container(start); };
  SKIFF_CO_TRY(PreparedContainer prepared, co_await env_.blocking->run(work));
  c->plan = std::move(prepared.plan);
  c->status.user = prepared.user;
  c->status.group = prepared.group;
  c->status.groups = std::move(prepared.groups);
  const std::string id = c->status.id;
  containers_[id] = c;
  announce(RuntimeEvent::Type::container_created, *sandbox, id);
  co_return id;
}

Task<Result<void>> RuntimeBody::start_container(std::string id) {
  return whole("start container", do_start_container(std::move(id)));
}

Task<Result<void>> RuntimeBody::do_start_container(std::string id) {
  auto found = find_container(id);
  if (!found) co_return found.error();
  ContainerPtr c = *found;
  auto guard = co_await c->lock.acquire();
  if (c->status.state != ContainerState::created) {
    co_return Error{Code::conflict, "container \"" + id + "\" was started before"};
  }
  auto owner = find_sandbox(c->status.sandbox_id);
  if (!owner) co_return owner.error();
  SandboxPtr sandbox = *owner;
  auto shim = sandbox->shim;
  if (!shim) co_return Error{Code::unavailable, "the pod's sandbox is not ready"};
  ContainerStart start = container_start(*sandbox, *c);
  if (!c->plan) {
    auto work = [start] { return load_plan(start); };
    SKIFF_CO_TRY(c->plan, co_await env_.blocking->run(work));
  }
  auto request = shim->next_request();
  std::string frame = start_frame(request, start, *c->plan);
  c->plan.reset();
  auto answer = co_await shim->call(request, std::move(frame));
  if (!answer) {
    if (c->status.state == ContainerState::created) {
      ExitRecord record;
      record.exit_code = start_error_code;
      record.message = answer.error().message;
      set_exited(c, record);
    }
    co_return annotate(answer.error(), "failed to start container");
  }
  // It may have ended already: that event came after this answer, but we wake up later.
  if (c->status.state != ContainerState::created) co_return Result<void>();
  const Message& m = (*answer)->message;
  c->status.state = ContainerState::running;
  c->status.pid = static_cast<int>(m.number(Tag::pid));
  c->status.started_at = from_nanoseconds(static_cast<std::int64_t>(m.number(Tag::started_at)));
  announce(RuntimeEvent::Type::container_started, *sandbox, id);
  co_return Result<void>();
}

void RuntimeBody::set_exited(const ContainerPtr& c, const ExitRecord& record) {
  ContainerStatus& s = c->status;
  s.state = ContainerState::exited;
  s.pid = 0;
  s.exit_code = record.exit_code;
  s.signal = record.signal;
  s.message = record.message;
  // A container that never ran has no start; its message says why.
  const bool failed_to_start = !record.message.empty() && record.exit_code == start_error_code;
  s.started_at.reset();
  if (!failed_to_start && record.started_at > 0) {
    s.started_at = from_nanoseconds(record.started_at);
  }
  s.finished_at =
      record.finished_at > 0 ? from_nanoseconds(record.finished_at) : env_.clock->wall();
  if (failed_to_start) {
    s.reason = "StartError";
  } else if (record.oom) {
    s.reason = "OOMKilled";
  } else {
    s.reason = record.exit_code == 0 ? "Completed" : "Error";
  }
  c->plan.reset();
  c->changed.notify_all();
}

void RuntimeBody::note_exit(const SandboxPtr& sandbox, const Message& m) {
  auto it = containers_.find(std::string(m.text(Tag::container)));
  if (it == containers_.end() || it->second->status.state == ContainerState::exited) return;
  set_exited(it->second, to_record(m));
  announce(RuntimeEvent::Type::container_exited, *sandbox, it->first);
  const SandboxConfig& config = sandbox->status.config;
  if (config.host_pid || config.share_process_namespace) {
    // No namespace ended with it: what it left behind is ended here.
    tasks_.spawn("kill leftovers", kill_leftovers(sandbox, it->first));
  }
}

Task<void> RuntimeBody::kill_leftovers(SandboxPtr sandbox, std::string container_id) {
  auto work = [group = container_group(sandbox->status.config, container_id),
               cgroups = cgroups_.get()] { return cgroups->kill(group); };
  auto killed = co_await env_.blocking->run(work);
  if (!killed) {
    log::warn("runtime", "killing what a container left behind",
              {{"container", container_id}, {"error", killed.error()}});
  }
}

Task<Result<void>> RuntimeBody::wait_exited(ContainerPtr c) {
  while (c->status.state == ContainerState::running) co_await c->changed.wait();
  co_return Result<void>();
}

Task<Result<void>> RuntimeBody::ask_to_stop(ContainerPtr c, Duration grace) {
  auto owner = find_sandbox(c->status.sandbox_id);
  auto shim = owner ? (*owner)->shim : nullptr;
  if (!shim) co_return Error{Code::unavailable, "the pod's shim is gone"};
  auto request = shim->next_request();
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::max(grace, Duration{0}));
  Frame frame(Type::stop, request);
  frame.put(Tag::container, c->status.id);
  frame.put(Tag::signal, static_cast<std::uint64_t>(stop_signal(c->status.config)));
  frame.put(Tag::grace_ms, static_cast<std::uint64_t>(ms.count()));
  auto answer = co_await shim->call(request, frame.finish());
  if (!answer) co_return answer.error();
  co_return Result<void>();
}

Task<Result<void>> RuntimeBody::stop_container(std::string id, Duration grace) {
  auto found = find_container(id);
  if (!found) co_return Result<void>();
  ContainerPtr c = *found;
  {
    // Behind a start under way.
    auto guard = co_await c->lock.acquire();
  }
  if (c->status.state != ContainerState::running) co_return Result<void>();
  // The shim keeps the time, so that the promise holds even when skiff does not live to see it.
  auto asked = co_await ask_to_stop(c, grace);
  if (!asked && c->status.state == ContainerState::running &&
      asked.error().code != Code::unavailable) {
    co_return asked.error();
  }
  auto wait = wait_exited(c);
  co_return co_await with_timeout(*env_.clock, grace + kill_limit,
                                  "stopping container \"" + id + "\"", std::move(wait));
}

Task<Result<void>> RuntimeBody::remove_container(std::string id) {
  return whole("remove container", do_remove_container(std::move(id)));
}

Task<Result<void>> RuntimeBody::do_remove_container(std::string id) {
  auto found = find_container(id);
  if (!found) co_return Result<void>();
  SKIFF_CO_CHECK(co_await stop_container(id, Duration{0}));
  ContainerPtr c = *found;
  auto guard = co_await c->lock.acquire();
  if (containers_.count(id) == 0) co_return Result<void>();
  auto owner = find_sandbox(c->status.sandbox_id);
  if (!owner) co_return owner.error();
  SandboxPtr sandbox = *owner;
  if (sandbox->shim) {
    auto request = sandbox->shim->next_request();
    sandbox->shim->post(Frame(Type::remove, request).put(Tag::container, id).finish());
  }
  auto work = [layout = layout_, config = sandbox->status.config, sandbox_id = sandbox->status.id,
               id, cgroups = cgroups_.get()] {
    return remove_container_files(layout, config, sandbox_id, id, *cgroups);
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(work));
  containers_.erase(id);
  c->status.state = ContainerState::exited;
  c->changed.notify_all();
  announce(RuntimeEvent::Type::container_removed, *sandbox, id);
  co_return Result<void>();
}

Task<Result<void>> RuntimeBody::update_container_resources(std::string id, Resources resources) {
  auto found = find_container(id);
  if (!found) co_return found.error();
  ContainerPtr c = *found;
  auto owner = find_sandbox(c->status.sandbox_id);
  if (!owner) co_return owner.error();
  auto guard = co_await c->lock.acquire();
  if (c->status.state == ContainerState::exited) {
    co_return Error{Code::conflict, "container \"" + id + "\" is not running"};
  }
  auto work = [group = container_group((*owner)->status.config, id), resources,
               cgroups = cgroups_.get()] {
    return cgroups->set_limits(group, cgroup_limits(resources));
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(work));
  c->status.config.resources = resources;
  co_return co_await save_container(c);
}

// So that a restarted skiff reports the resources that were set last.
Task<Result<void>> RuntimeBody::save_container(ContainerPtr c) {
  std::string path = layout_.container(c->status.sandbox_id, c->status.id) + "/container.json";
  auto work = [path, config = c->status.config]() -> Result<void> {
    SKIFF_TRY(std::string text, read_text(path));
    SKIFF_TRY(api::Value record, api::parse_json(text));
    record.set("config", to_value(config));
    return write_text(path, api::to_json(record));
  };
  co_return co_await env_.blocking->run(work);
}

Task<Result<void>> RuntimeBody::reopen_log(std::string id) {
  auto found = find_container(id);
  if (!found) co_return found.error();
  auto owner = find_sandbox((*found)->status.sandbox_id);
  auto shim = owner ? (*owner)->shim : nullptr;
  if (!shim || (*found)->status.state != ContainerState::running) {
    co_return Error{Code::conflict, "container \"" + id + "\" is not running"};
  }
  auto request = shim->next_request();
  std::string frame = Frame(Type::reopen, request).put(Tag::container, id).finish();
  auto answer = co_await shim->call(request, std::move(frame));
  if (!answer) co_return answer.error();
  co_return Result<void>();
}

}  // namespace skiff::runtime
