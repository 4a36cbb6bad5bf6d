#include "skiff/scheduler/scheduler.hpp"

#include "framework.hpp"
#include "queue.hpp"
#include "skiff/client/reconcile.hpp"

namespace skiff::scheduler {

using api::ObjectPtr;
using api::Value;
namespace resources = client::resources;

class Scheduler::Impl {
 public:
  Impl(Env env, client::Client& client, client::InformerFactory& informers, Options options)
      : env_(env),
        client_(client),
        options_(std::move(options)),
        informers_(informers),
        recorder_(env, client, options_.scheduler_name),
        queue_(env),
        latency_(env.metrics->histogram("scheduler_scheduling_algorithm_duration_seconds",
                                        "Time to place one pod, without binding it.",
                                        {1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1})),
        scheduled_(attempts("scheduled")),
        unschedulable_(attempts("unschedulable")),
        failed_(attempts("error")) {
    informers.get(resources::kNodes)
        .add_handler([this](const ObjectPtr& old, const ObjectPtr& now) { on_node(old, now); });
    informers.get(resources::kNamespaces)
        .add_handler(
            [this](const ObjectPtr& old, const ObjectPtr& now) { on_namespace(old, now); });
    informers.get(resources::kPods).add_handler([this](const ObjectPtr& old, const ObjectPtr& now) {
      on_pod(old, now);
    });
  }

  void start(TaskGroup& group) {
    recorder_.start(group);
    group.spawn("scheduler", run());
  }

 private:
  metrics::Counter& attempts(std::string result) {
    return env_.metrics->counter("scheduler_schedule_attempts_total",
                                 "Attempts to place a pod, by result.", {"result"},
                                 {std::move(result)});
  }

  void on_node(const ObjectPtr& old, const ObjectPtr& now) {
    if (!now) {
      snapshot_.remove_node(old->name());
      queue_.wake_if([](const PodInfo& p) { return !p.spread.empty(); });  // a domain less
      return;
    }
    snapshot_.set_node(*now);
    // Heartbeats must not wake every waiting pod.
    const bool relevant = !old || old->root()["spec"] != now->root()["spec"] ||
                          old->labels() != now->labels() ||
                          (*old)["status"]["allocatable"] != (*now)["status"]["allocatable"];
    if (relevant) queue_.wake_all();
  }

  void on_namespace(const ObjectPtr& old, const ObjectPtr& now) {
    if (!now) {
      snapshot_.remove_namespace(old->name());
    } else {
      snapshot_.set_namespace(now->name(), now->labels());
      if (!old || old->labels() != now->labels()) wake_for_neighbours();  // namespaceSelector
    }
  }

  // For pods that care about who runs where.
  void wake_for_neighbours() {
    queue_.wake_if([](const PodInfo& p) { return p.has_affinity() || !p.spread.empty(); });
  }

  void on_pod(const ObjectPtr& old, const ObjectPtr& now) {
    if (!now) {
      queue_.remove(old->uid());
      snapshot_.remove_pod(old->uid());
      if (!(*old)["spec"]["nodeName"].as_string().empty()) queue_.wake_all();  // its room is free
      return;
    }
    if (old && old->uid() != now->uid()) {
      on_pod(old, nullptr);
      return on_pod(nullptr, now);
    }
    auto pod = std::make_shared<const PodInfo>(now);
    const bool pending = pod->node_name.empty() && !pod->terminal && !pod->deleting;
    if (pending && pod->scheduler_name == options_.scheduler_name) {
      // One whose binding was accepted is done with: this is only an older state of it.
      if (!snapshot_.assumed(pod->uid) || queue_.holds(pod->uid)) queue_.set(std::move(pod));
      return;
    }
    queue_.remove(pod->uid);
    const bool was_placed = old && !(*old)["spec"]["nodeName"].as_string().empty();
    const bool ended = pod->terminal && (!old || !PodInfo::is_terminal(*old));
    const bool resized = was_placed && (*old)["spec"] != (*now)["spec"];
    const bool moved =
        !was_placed || old->labels() != now->labels() || old->deleting() != now->deleting();
    snapshot_.set_pod(std::move(pod));
    if (ended || resized) {
      queue_.wake_all();
    } else if (moved) {
      wake_for_neighbours();
    }
  }

  Task<void> run() {
    co_await informers_.wait_synced();
    for (;;) {
      co_await queue_.wait();
      const std::vector<PodInfoPtr> pods = queue_.pop(options_.max_batch);
      std::vector<client::Write> writes;
      std::vector<Attempt> made;
      for (const PodInfoPtr& pod : pods) decide(pod, writes, made);
      if (writes.empty()) continue;
      const std::vector<Result<ObjectPtr>> results = co_await client_.batch(std::move(writes));
      for (std::size_t i = 0; i < made.size(); ++i) settle(made[i], results[i]);
    }
  }

  struct Attempt {
    PodInfoPtr pod;
    std::string node;  // "" when it did not fit
  };

  // Places one pod and says what is to be written about it.
  void decide(const PodInfoPtr& pod, std::vector<client::Write>& writes,
              std::vector<Attempt>& made) {
    const TimePoint start = env_.clock->now();
    const Placement placement = framework_.place(*pod, snapshot_, env_.random->next());
    latency_.observe(std::chrono::duration<double>(env_.clock->now() - start).count());
    if (placement.node != nullptr) {
      snapshot_.assume(pod, placement.node->name);
      writes.push_back(binding(*pod, placement.node->name));
      made.push_back({pod, placement.node->name});
      return;
    }
    unschedulable_.add();
    recorder_.event(*pod->object, "Warning", "FailedScheduling", placement.message);
    if (said_already(*pod, placement.message)) {
      queue_.failed(pod->uid, false);
      return;
    }
    writes.push_back(unschedulable_condition(*pod, placement.message));
    made.push_back({pod, ""});
  }

  void settle(const Attempt& attempt, const Result<ObjectPtr>& result) {
    const std::string& uid = attempt.pod->uid;
    if (attempt.node.empty()) {
      queue_.failed(uid, false);
      return;
    }
    if (result) {
      scheduled_.add();
      recorder_.event(
          *attempt.pod->object, "Normal", "Scheduled",
          "Successfully assigned " + attempt.pod->key.to_string() + " to " + attempt.node);
      queue_.done(uid);
      return;
    }
    snapshot_.forget(uid);
    const Code code = result.error().code;
    if (code == Code::not_found || code == Code::conflict) {
      // Deleted meanwhile, or bound by someone else: the informer tells.
      queue_.failed(uid, code == Code::conflict);
      return;
    }
    failed_.add();
    log::warn("scheduler", "binding failed",
              {{"pod", attempt.pod->key.to_string()}, {"error", result.error()}});
    recorder_.event(*attempt.pod->object, "Warning", "FailedScheduling", result.error().message);
    queue_.failed(uid, true);
  }

  static client::Write binding(const PodInfo& pod, const std::string& node) {
    client::Write w;
    w.type = client::Write::Type::create;
    w.ref = resources::kPods.at(pod.key).sub("binding");
    w.object = Value::object({{"apiVersion", "v1"}, {"kind", "Binding"}});
    w.object.set("metadata", Value::object({{"name", Value(pod.key.name)},
                                            {"namespace", Value(pod.key.ns)},
                                            {"uid", Value(pod.uid)}}));
    w.object.set("target", Value::object({{"kind", "Node"}, {"name", Value(node)}}));
    return w;
  }

  static const Value* scheduled_condition(const PodInfo& pod) {
    for (const Value& c : (*pod.object)["status"]["conditions"].items()) {
      if (c["type"].as_string() == "PodScheduled") return &c;
    }
    return nullptr;
  }

  static bool said_already(const PodInfo& pod, const std::string& message) {
    const Value* c = scheduled_condition(pod);
    return c != nullptr && (*c)["status"].as_string() == "False" &&
           (*c)["reason"].as_string() == "Unschedulable" && (*c)["message"].as_string() == message;
  }

  client::Write unschedulable_condition(const PodInfo& pod, const std::string& message) const {
    const Value* before = scheduled_condition(pod);
    const bool transition = before == nullptr || (*before)["status"].as_string() != "False";
    Value condition = Value::object({{"type", "PodScheduled"}, {"status", "False"}});
    condition.set("reason", "Unschedulable");
    condition.set("message", message);
    condition.set("lastProbeTime", nullptr);
    condition.set("lastTransitionTime", transition ? Value(format_time(env_.clock->wall()))
                                                   : (*before)["lastTransitionTime"]);
    condition.set("observedGeneration", pod.object->generation());
    client::Write w;
    w.type = client::Write::Type::patch;
    w.patch_type = api::PatchType::strategic;
    w.ref = resources::kPods.at(pod.key).sub("status");
    w.object = Value::object({{"metadata", Value::object({{"uid", Value(pod.uid)}})}});
    w.object.member("status").set("conditions", Value::array({std::move(condition)}));
    return w;
  }

  Env env_;
  client::Client& client_;
  Options options_;
  client::InformerFactory& informers_;
  client::EventRecorder recorder_;
  Framework framework_;
  Snapshot snapshot_;
  Queue queue_;
  metrics::Histogram& latency_;
  metrics::Counter& scheduled_;
  metrics::Counter& unschedulable_;
  metrics::Counter& failed_;
};

Scheduler::Scheduler(Env env, client::Client& client, client::InformerFactory& informers,
                     Options options)
    : impl_(std::make_unique<Impl>(env, client, informers, std::move(options))) {}

Scheduler::~Scheduler() = default;

void Scheduler::start(TaskGroup& group) { impl_->start(group); }

}  // namespace skiff::scheduler
