// Startup, liveness and readiness probes of one pod's containers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "plan.hpp"
#include "skiff/client/reconcile.hpp"
#include "skiff/http/client.hpp"

namespace skiff::kubelet {

class Prober {
 public:
  // `changed` is called when a verdict changed. All references outlive the group passed to watch().
  Prober(Env env, runtime::Runtime& runtime, http::Client& http, client::EventRecorder& events,
         std::function<void()> changed);

  // Starts to probe a container that runs; again with the same id is nothing new.
  void watch(TaskGroup& group, ObjectPtr pod, const std::string& container,
             const std::string& container_id, const std::string& address);
  void forget(const std::string& container);
  // Verdicts on a running container.
  Health health(const std::string& container) const;

 private:
  enum class Kind : std::uint8_t { startup, liveness, readiness };
  struct Watched {
    ObjectPtr pod;
    std::string container;
    std::string id;
    std::string address;  // the pod's
    Health health;
    bool over = false;
    std::unique_ptr<Signal> started;
  };
  using WatchedPtr = std::shared_ptr<Watched>;

  Task<void> run(WatchedPtr watched, Kind kind);
  void judge(const WatchedPtr& watched, Kind kind, bool good, int count);
  // Success, or what went wrong as upstream words it.
  Task<Result<void>> probe_once(WatchedPtr watched, const Value* probe);
  Task<Result<void>> probe_http(WatchedPtr watched, const Value* probe, Duration timeout);
  Task<Result<void>> probe_tcp(WatchedPtr watched, const Value* probe, Duration timeout);
  Task<Result<void>> probe_exec(WatchedPtr watched, const Value* probe, Duration timeout);

  Env env_;
  runtime::Runtime& runtime_;
  http::Client& http_;
  client::EventRecorder& events_;
  std::function<void()> changed_;
  std::map<std::string, WatchedPtr> watched_;
};

}  // namespace skiff::kubelet
