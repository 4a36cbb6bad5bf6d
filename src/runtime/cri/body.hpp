// The Runtime on the loop: records of what exists, and the order of what is done to it. Blocking
// work is in files.hpp, processes are the shims'.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "files.hpp"
#include "shim_client.hpp"
#include "skiff/linux/cgroup.hpp"
#include "skiff/runtime/executor.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::runtime {

// One holder at a time; waiters are served in turn.
class TaskLock {
 public:
  explicit TaskLock(skiff::Executor executor) : freed_(std::move(executor)) {}
  class Guard {
   public:
    explicit Guard(TaskLock& lock) : lock_(&lock) {}
    Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (!lock_) return;
      lock_->held_ = false;
      lock_->freed_.notify_all();
    }

   private:
    TaskLock* lock_;
  };
  Task<Guard> acquire() {
    while (held_) co_await freed_.wait();
    held_ = true;
    co_return Guard(*this);
  }

 private:
  bool held_ = false;
  Signal freed_;
};

struct SandboxRecord {
  SandboxRecord(skiff::Executor executor) : lock(executor) {}
  SandboxStatus status;
  int pause_pid = 0;
  std::shared_ptr<ShimClient> shim;
  TaskLock lock;
  bool stopping = false;
  bool released = false;  // nothing of it is left outside its directory
};
using SandboxPtr = std::shared_ptr<SandboxRecord>;

struct ContainerRecord {
  ContainerRecord(skiff::Executor executor) : lock(executor), changed(executor) {}
  ContainerStatus status;
  std::optional<LaunchPlan> plan;  // until it is started
  bool overlay = true;
  TaskLock lock;
  Signal changed;
};
using ContainerPtr = std::shared_ptr<ContainerRecord>;

class RuntimeBody final : public Runtime {
 public:
  RuntimeBody(Env env, RuntimeOptions options, std::unique_ptr<sys::Cgroups> cgroups);

  Task<Result<void>> recover() override;
  Task<void> close() override;
  RuntimeInfo info() const override;

  Task<Result<std::string>> run_sandbox(SandboxConfig config) override;
  Task<Result<void>> stop_sandbox(std::string id) override;
  Task<Result<void>> remove_sandbox(std::string id) override;
  Result<SandboxStatus> sandbox_status(const std::string& id) const override;
  std::vector<SandboxStatus> list_sandboxes() const override;
  Task<Result<void>> update_sandbox_resources(std::string id, Resources resources) override;

  Task<Result<std::string>> create_container(std::string sandbox_id,
                                             ContainerConfig config) override;
  Task<Result<void>> start_container(std::string id) override;
  Task<Result<void>> stop_container(std::string id, Duration grace) override;
  Task<Result<void>> remove_container(std::string id) override;
  Result<ContainerStatus> container_status(const std::string& id) const override;
  std::vector<ContainerStatus> list_containers() const override;
  Task<Result<void>> update_container_resources(std::string id, Resources resources) override;

  Task<Result<ExecResult>> exec_sync(std::string id, std::vector<std::string> command,
                                     Duration timeout) override;
  Task<Result<std::unique_ptr<Stream>>> exec(std::string id, ExecRequest request) override;
  Task<Result<std::unique_ptr<Stream>>> attach(std::string id) override;
  Task<Result<int>> dial(std::string sandbox_id, std::uint16_t port) override;
  Task<Result<void>> reopen_log(std::string id) override;
  Task<Result<std::vector<ContainerUsage>>> container_stats(std::string sandbox_id) override;
  Task<Result<Usage>> sandbox_stats(std::string id) override;
  Task<std::optional<RuntimeEvent>> next_event() override;

 private:
  // Runs `task` to its end even when the caller is cancelled while it waits: what is half-done
  // in the kernel is always brought to a state the records agree with.
  template <class T>
  Task<Result<T>> whole(std::string name, Task<Result<T>> task);
  template <class T>
  struct Outcome {
    explicit Outcome(skiff::Executor executor) : done(std::move(executor)) {}
    std::optional<Result<T>> result;
    Signal done;
  };
  template <class T>
  static Task<void> fulfil(std::shared_ptr<Outcome<T>> outcome, Task<Result<T>> task);

  Task<Result<std::string>> do_run_sandbox(SandboxConfig config);
  Task<Result<void>> do_stop_sandbox(SandboxPtr sandbox);
  Task<Result<void>> do_remove_sandbox(std::string id);
  Task<Result<std::string>> do_create_container(std::string sandbox_id, ContainerConfig config);
  Task<Result<void>> do_start_container(std::string id);
  Task<Result<void>> do_remove_container(std::string id);
  Task<Result<void>> end_shim(SandboxPtr sandbox);
  Task<Result<void>> connect(SandboxPtr sandbox, std::string directory);
  Task<Result<void>> ask_to_stop(ContainerPtr container, Duration grace);
  Task<Result<void>> wait_exited(ContainerPtr container);
  Task<Result<void>> save_container(ContainerPtr container);

  Task<void> adopt(SandboxPtr sandbox);
  Task<void> sweep();
  Task<void> clear_half_made(std::string id);
  void load_container(SandboxPtr sandbox, const std::string& id);
  // What a shim says of a container, in an event or an entry of its list.
  void note_exit(const SandboxPtr& sandbox, const protocol::Message& m);
  void note_entry(const protocol::Message& m);
  void shim_lost(const SandboxPtr& sandbox);
  void set_exited(const ContainerPtr& container, const ExitRecord& record);
  Task<void> kill_leftovers(SandboxPtr sandbox, std::string container_id);

  // A process in a container with the given stdio (descriptors are handed over).
  struct Started {
    std::shared_ptr<ShimClient> shim;
    std::string exec_id;
    std::shared_ptr<ShimClient::ExecEnd> end;
    OwnedFd terminal;
  };
  Task<Result<Started>> start_exec(ContainerPtr container, std::vector<std::string> command,
                                   bool tty, std::vector<OwnedFd> stdio);

  Result<SandboxPtr> find_sandbox(const std::string& id) const;
  Result<ContainerPtr> find_container(const std::string& id) const;
  ContainerStart container_start(const SandboxRecord& sandbox, const ContainerRecord& c) const;
  std::vector<std::string> containers_of(const std::string& sandbox_id) const;
  std::string new_id();
  void announce(RuntimeEvent::Type type, const SandboxRecord& sandbox,
                std::string container_id = "");

  Env env_;
  RuntimeOptions options_;
  Layout layout_;
  std::unique_ptr<sys::Cgroups> cgroups_;
  std::unique_ptr<OciExecutor> executor_;
  bool overlay_ = true;
  bool recovered_ = false;
  std::map<std::string, SandboxPtr> sandboxes_;
  std::map<std::string, ContainerPtr> containers_;
  Channel<RuntimeEvent> events_;
  bool events_lost_ = false;
  TaskGroup tasks_;
};

template <class T>
Task<void> RuntimeBody::fulfil(std::shared_ptr<Outcome<T>> outcome, Task<Result<T>> task) {
  outcome->result = co_await std::move(task);
  outcome->done.notify_all();
}

template <class T>
Task<Result<T>> RuntimeBody::whole(std::string name, Task<Result<T>> task) {
  auto outcome = std::make_shared<Outcome<T>>(env_.executor);
  tasks_.spawn(std::move(name), fulfil<T>(outcome, std::move(task)));
  while (!outcome->result) co_await outcome->done.wait();
  co_return std::move(*outcome->result);
}

}  // namespace skiff::runtime
