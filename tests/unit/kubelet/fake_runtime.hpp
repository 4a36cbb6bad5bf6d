// A runtime that only remembers: containers run until the test ends them.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "skiff/runtime/runtime.hpp"

namespace skiff::kubelet::made {

class FakeRuntime final : public runtime::Runtime {
 public:
  explicit FakeRuntime(Env env) : env_(env) {}

  // What happened, in order: "run NAME", "stop NAME", "exec NAME".
  std::vector<std::string> history;
  std::map<std::string, runtime::SandboxStatus> sandboxes;
  std::map<std::string, runtime::ContainerStatus> containers;
  int exec_exit_code = 0;
  Duration stop_takes{};

  // The newest container of that name.
  runtime::ContainerStatus* newest(const std::string& name) {
    runtime::ContainerStatus* found = nullptr;
    for (auto& [id, c] : containers) {
      if (c.config.name == name && (found == nullptr || found->config.attempt < c.config.attempt))
        found = &c;
    }
    return found;
  }
  void exit(const std::string& name, int code) {
    runtime::ContainerStatus* c = newest(name);
    c->state = runtime::ContainerState::exited;
    c->exit_code = code;
    c->finished_at = env_.clock->wall();
  }
  std::size_t running() const {
    return static_cast<std::size_t>(std::count_if(
        containers.begin(), containers.end(),
        [](const auto& entry) { return entry.second.state == runtime::ContainerState::running; }));
  }

  Task<Result<void>> recover() override { co_return Result<void>(); }
  Task<void> close() override { co_return; }
  runtime::RuntimeInfo info() const override { return {}; }

  Task<Result<std::string>> run_sandbox(runtime::SandboxConfig config) override {
    runtime::SandboxStatus s;
    s.id = "sandbox-" + std::to_string(next_++);
    s.state = runtime::SandboxState::ready;
    s.config = std::move(config);
    const std::string id = s.id;
    sandboxes[id] = std::move(s);
    co_return id;
  }
  Task<Result<void>> stop_sandbox(std::string id) override {
    const auto it = sandboxes.find(id);
    if (it != sandboxes.end()) it->second.state = runtime::SandboxState::not_ready;
    co_return Result<void>();
  }
  Task<Result<void>> remove_sandbox(std::string id) override {
    sandboxes.erase(id);
    std::erase_if(containers, [&](const auto& c) { return c.second.sandbox_id == id; });
    co_return Result<void>();
  }
  Result<runtime::SandboxStatus> sandbox_status(const std::string& id) const override {
    const auto it = sandboxes.find(id);
    if (it == sandboxes.end()) return Error{Code::not_found, "no such sandbox"};
    return it->second;
  }
  std::vector<runtime::SandboxStatus> list_sandboxes() const override { return {}; }
  Task<Result<void>> update_sandbox_resources(std::string, runtime::Resources) override {
    co_return Result<void>();
  }

  Task<Result<std::string>> create_container(std::string sandbox,
                                             runtime::ContainerConfig config) override {
    runtime::ContainerStatus s;
    s.id = config.name + "-" + std::to_string(next_++);
    s.sandbox_id = sandbox;
    s.config = std::move(config);
    const std::string id = s.id;
    containers[id] = std::move(s);
    co_return id;
  }
  Task<Result<void>> start_container(std::string id) override {
    runtime::ContainerStatus& s = containers.at(id);
    s.state = runtime::ContainerState::running;
    s.started_at = env_.clock->wall();
    history.push_back("run " + s.config.name);
    co_return Result<void>();
  }
  Task<Result<void>> stop_container(std::string id, Duration grace) override {
    auto it = containers.find(id);
    if (it == containers.end() || it->second.state != runtime::ContainerState::running)
      co_return Result<void>();
    history.push_back("stop " + it->second.config.name);
    co_await env_.clock->sleep_for(std::min(stop_takes, grace));
    it = containers.find(id);
    if (it == containers.end() || it->second.state != runtime::ContainerState::running)
      co_return Result<void>();
    it->second.state = runtime::ContainerState::exited;
    it->second.exit_code = stop_takes > grace || grace == Duration(0) ? 137 : 0;
    it->second.finished_at = env_.clock->wall();
    co_return Result<void>();
  }
  Task<Result<void>> remove_container(std::string id) override {
    containers.erase(id);
    co_return Result<void>();
  }
  Result<runtime::ContainerStatus> container_status(const std::string& id) const override {
    const auto it = containers.find(id);
    if (it == containers.end()) return Error{Code::not_found, "no such container"};
    return it->second;
  }
  std::vector<runtime::ContainerStatus> list_containers() const override { return {}; }
  Task<Result<void>> update_container_resources(std::string, runtime::Resources) override {
    co_return Result<void>();
  }
  Task<Result<runtime::ExecResult>> exec_sync(std::string id, std::vector<std::string> command,
                                              Duration) override {
    history.push_back("exec " + containers.at(id).config.name + " " + command.at(0));
    runtime::ExecResult result;
    result.exit_code = exec_exit_code;
    co_return result;
  }
  Task<Result<std::unique_ptr<runtime::Stream>>> exec(std::string, runtime::ExecRequest) override {
    co_return refused();
  }
  Task<Result<std::unique_ptr<runtime::Stream>>> attach(std::string) override {
    co_return refused();
  }
  Task<Result<int>> dial(std::string, std::uint16_t) override { co_return refused(); }
  Task<Result<void>> reopen_log(std::string) override { co_return refused(); }
  Task<Result<std::vector<runtime::ContainerUsage>>> container_stats(std::string) override {
    co_return refused();
  }
  Task<Result<runtime::Usage>> sandbox_stats(std::string) override { co_return refused(); }
  Task<std::optional<runtime::RuntimeEvent>> next_event() override { co_return std::nullopt; }

 private:
  static Error refused() { return {Code::unavailable, "the fake runtime does not do this"}; }
  Env env_;
  int next_ = 0;
};

}  // namespace skiff::kubelet::made
