// The worker's loop and its view of the pod; starting is in pod_start.cpp, ending in pod_stop.cpp.
#include "pod_worker.hpp"

namespace skiff::kubelet {
namespace {

// Waits for `signal` or until `when`.
Task<void> wait_for(Clock* clock, Signal* signal, TimePoint when) {
  if (when == TimePoint::max()) {
    co_await signal->wait();
  } else {
    co_await race(signal->wait(), clock->sleep_until(when));
  }
}

}  // namespace

PodWorker::PodWorker(const Context& context, ObjectPtr pod)
    : ctx_(context),
      env_(context.env),
      pod_(std::move(pod)),
      changed_(env_.executor),
      tasks_(env_.executor),
      prober_(env_, ctx_.runtime, ctx_.probes, ctx_.events, [this] { poke(); }) {}

PodWorker::~PodWorker() = default;

void PodWorker::update(ObjectPtr pod) {
  if (pod) {
    pod_ = std::move(pod);
  } else {
    gone_ = true;
  }
  poke();
}

void PodWorker::poke() {
  dirty_ = true;
  changed_.notify_all();
}

void PodWorker::adopt(const runtime::SandboxStatus& sandbox,
                      const std::vector<runtime::ContainerStatus>& containers) {
  if (!sandbox_id_.empty() && sandbox.config.attempt < sandbox_attempt_) {
    retired_.push_back(sandbox.id);
  } else {
    if (!sandbox_id_.empty()) retired_.push_back(sandbox_id_);
    sandbox_id_ = sandbox.id;
    sandbox_attempt_ = sandbox.config.attempt;
    sandbox_adopted_ = true;
  }
  for (const auto& c : containers) {
    auto& list = instances_[c.config.name];
    list.push_back({c.id, static_cast<int>(c.config.attempt)});
    std::sort(list.begin(), list.end(),
              [](const Instance& a, const Instance& b) { return a.attempt < b.attempt; });
  }
}

std::optional<runtime::ContainerStatus> PodWorker::instance(const std::string& container,
                                                            bool previous) const {
  const auto it = instances_.find(container);
  const std::size_t back = previous ? 2 : 1;
  if (it == instances_.end() || it->second.size() < back) return std::nullopt;
  const auto status = ctx_.runtime.container_status(it->second[it->second.size() - back].id);
  if (!status) return std::nullopt;
  return *status;
}

Observed PodWorker::observe() const {
  Observed out;
  out.sandbox_existed = !sandbox_id_.empty();
  if (!sandbox_id_.empty()) {
    const auto sandbox = ctx_.runtime.sandbox_status(sandbox_id_);
    out.sandbox_ready = sandbox && sandbox->state == runtime::SandboxState::ready &&
                        (!pod_ip_.empty() || is_host_network(pod_->root()));
  }
  for (const auto& [name, list] : instances_) {
    if (auto status = instance(name, false)) {
      // What ran in a sandbox that has been replaced has to run again, init containers too.
      if (out.sandbox_ready && status->sandbox_id != sandbox_id_) continue;
      if (status->state == runtime::ContainerState::running) {
        out.health[name] = prober_.health(name);
      }
      out.containers[name] = std::move(*status);
    }
  }
  return out;
}

// The API says that the pod has ended: it must not be run again, whatever is here of it.
bool PodWorker::over_in_api() const {
  const std::string& phase = (*pod_)["status"]["phase"].as_string();
  return phase == "Succeeded" || phase == "Failed";
}

Task<void> PodWorker::run() {
  std::exception_ptr canceled;
  try {
    co_await live();
  } catch (const boost::system::system_error&) {
    canceled = std::current_exception();
  }
  // From here on the coroutine must get to its end: its tasks use what dies with it.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  tasks_.cancel();
  co_await tasks_.join();
  if (canceled) std::rethrow_exception(canceled);
}

Task<void> PodWorker::live() {
  while (!stopping()) {
    dirty_ = false;
    const TimePoint next = co_await sync();
    while (!dirty_ && !stopping() && env_.clock->now() < next) {
      co_await wait_for(env_.clock, &changed_, next);
    }
  }
  co_await terminate();
}

TimePoint PodWorker::deadline() const {
  const Value& seconds = (*pod_)["spec"]["activeDeadlineSeconds"];
  const auto started = parse_time((*pod_)["status"]["startTime"].as_string());
  if (!seconds.is_int() || !started) return TimePoint::max();
  const auto left = *started + std::chrono::seconds(seconds.as_int()) - env_.clock->wall();
  return env_.clock->now() + left;
}

Task<TimePoint> PodWorker::sync() {
  if (over_in_api()) {
    if (!cleaned_) {
      co_await stop_all();
      cleaned_ = co_await clean_up();
    }
    co_return cleaned_ ? TimePoint::max() : env_.clock->now() + 10s;
  }
  if (failed_reason_.empty() && deadline() <= env_.clock->now()) {
    failed_reason_ = "DeadlineExceeded";
    failed_message_ = "Pod was active on the node longer than the specified deadline";
    ctx_.events.event(*pod_, "Normal", "DeadlineExceeded", failed_message_);
  }
  if (std::exchange(sandbox_adopted_, false)) co_await take_up_sandbox();
  co_await read_termination_messages();
  refresh_probes();
  const Observed observed = observe();
  const Actions actions = plan(pod_->root(), observed);
  if (actions.finished || !failed_reason_.empty()) {
    co_await stop_all();
    co_await read_termination_messages();
    publish();
    cleaned_ = co_await clean_up();
    co_return cleaned_ ? TimePoint::max() : env_.clock->now() + 10s;
  }
  TimePoint next = std::min(deadline(), ctx_.volumes.renewal(pod_->uid()));
  if (!actions.kill.empty()) {
    co_await kill(actions.kill);
    dirty_ = true;  // plan again from what is left
  } else if (actions.create_sandbox) {
    const Result<void> made = co_await create_sandbox();
    if (made) {
      sandbox_failures_ = 0;
      dirty_ = true;
      co_return TimePoint::min();  // nothing to report yet: containers start in the same turn
    }
    const int doublings = std::min(sandbox_failures_++, 5);
    next = std::min(next, env_.clock->now() + Duration(1s) * (1 << doublings));
  } else {
    next = std::min(next, co_await start_all(actions.start));
    if (volumes_ready_ && actions.start.empty()) {
      // ConfigMaps, Secrets and tokens may have changed.
      const Result<void> fresh = co_await ctx_.volumes.set_up(pod_, ctx_.sources(pod_ip_));
      if (!fresh) log::warn("kubelet", "volumes not refreshed", {{"error", fresh.error()}});
    }
  }
  if (!stopping()) {
    refresh_probes();
    publish();
  }
  co_return next;
}

void PodWorker::refresh_probes() {
  for (const auto& [name, list] : instances_) {
    const auto status = instance(name, false);
    if (status && status->state == runtime::ContainerState::running) {
      prober_.watch(tasks_, pod_, name, status->id,
                    is_host_network(pod_->root()) ? ctx_.options.node_ip : pod_ip_);
    } else {
      prober_.forget(name);
    }
  }
}

void PodWorker::set_waiting(const std::string& name, std::string reason, std::string message) {
  waiting_[name] = {std::move(reason), std::move(message)};
}

Value PodWorker::status(bool ended) const {
  StatusInput in;
  in.ended = ended;
  in.observed = observe();
  for (const auto& [name, list] : instances_) {
    const bool newest_is_past = !in.observed.containers.contains(name);
    if (auto before = instance(name, !newest_is_past)) in.previous[name] = std::move(*before);
    if (!list.empty()) in.restarts[name] = list.back().attempt;
  }
  in.waiting = waiting_;
  in.termination_messages = messages_;
  in.host_ip = ctx_.options.node_ip;
  in.pod_ip = pod_ip_;
  in.now = env_.clock->wall();
  in.failed_reason = failed_reason_;
  in.failed_message = failed_message_;
  return make_status(pod_->root(), in);
}

void PodWorker::publish() {
  if (!gone_) ctx_.statuses.set(pod_, status(false));
}

}  // namespace skiff::kubelet
