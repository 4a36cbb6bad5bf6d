// One pod's life on this node, as one coroutine.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "context.hpp"
#include "plan.hpp"
#include "prober.hpp"
#include "status.hpp"

namespace skiff::kubelet {

class PodWorker {
 public:
  PodWorker(const Context& context, ObjectPtr pod);
  ~PodWorker();

  // The newest state of the pod; null: it is gone from the API. Latest wins.
  void update(ObjectPtr pod);
  // Something it depends on changed: a container ended, a ConfigMap was updated, ...
  void poke();

  // Takes over a sandbox, with its containers, that an earlier kubelet left. Before run().
  void adopt(const runtime::SandboxStatus& sandbox,
             const std::vector<runtime::ContainerStatus>& containers);

  // Returns when nothing of the pod is left on the node, or throws when cancelled (containers
  // stay).
  Task<void> run();

  // The newest (or with `previous` the one before) instance of a container, for its log.
  std::optional<runtime::ContainerStatus> instance(const std::string& container,
                                                   bool previous) const;
  ObjectPtr pod() const { return pod_; }

 private:
  struct Instance {
    std::string id;
    int attempt = 0;
  };
  struct StartTry {
    TimePoint retry_at{};  // min(): at once
    bool started = false;
  };
  struct BackOff {
    int count = 0;
    TimePoint until{};
    std::string for_id;  // the ended instance this back-off follows
  };

  bool stopping() const { return gone_ || pod_->deleting(); }
  Observed observe() const;
  bool over_in_api() const;
  Task<void> live();

  // One look and what follows from it; returns when to look again unless poked earlier.
  Task<TimePoint> sync();
  Task<TimePoint> start_all(std::vector<std::string> names);
  Task<void> kill(std::vector<Kill> kills);
  Task<void> take_up_sandbox();
  Task<Result<void>> create_sandbox();
  Task<StartTry> start_container(std::string name);
  Task<Result<void>> launch(std::string name, runtime::Image image);
  Task<Result<std::vector<runtime::Mount>>> extra_mounts(std::string name, int attempt);
  Task<void> run_post_start(ObjectPtr pod, std::string name, std::string id);
  // exec, httpGet or sleep of a lifecycle hook; `limit` zero: as long as it takes.
  Task<Result<void>> run_hook(ObjectPtr pod, std::string name, std::string id, const Value* hook,
                              Duration limit);
  Task<std::optional<PullOutcome>> pull(std::string name);
  Task<void> wait_stopping();
  std::optional<TimePoint> restart_delay(const Value& container);
  void set_waiting(const std::string& name, std::string reason, std::string message);

  // Ending.
  Task<void> stop_container(std::string name, std::string id, Duration grace, bool hook);
  Task<void> stop_and_count(std::string name, std::string id, Duration grace,
                            std::shared_ptr<int> left);
  Task<void> stop_all();
  Task<void> terminate();
  Task<bool> clean_up();
  Duration grace_period() const;
  TimePoint deadline() const;

  void refresh_probes();
  Task<void> read_termination_messages();
  Task<void> forget_old_instances(std::string name);
  void publish();
  Value status(bool ended) const;

  const Context& ctx_;
  Env env_;
  ObjectPtr pod_;
  bool gone_ = false;
  bool dirty_ = true;
  bool volumes_ready_ = false;
  bool cleaned_ = false;  // nothing but records is left of a pod that ended
  bool sandbox_adopted_ = false;
  std::string sandbox_id_;
  std::uint32_t sandbox_attempt_ = 0;
  std::vector<std::string> retired_;  // dead sandboxes, kept for what they say of their containers
  std::string pod_ip_;
  int sandbox_failures_ = 0;
  std::string failed_reason_;
  std::string failed_message_;
  std::map<std::string, std::vector<Instance>> instances_;  // oldest first, by container
  std::map<std::string, Waiting> waiting_;
  std::map<std::string, BackOff> back_off_;
  std::map<std::string, std::string> messages_;  // termination messages by container id
  Signal changed_;
  TaskGroup tasks_;
  Prober prober_;
};

}  // namespace skiff::kubelet
