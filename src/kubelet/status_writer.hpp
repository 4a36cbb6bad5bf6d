// Writes pod statuses: what changed in one turn of the loop goes out as one batch.
#pragma once

#include <map>
#include <string>

#include "pod.hpp"
#include "skiff/client/client.hpp"

namespace skiff::kubelet {

class StatusWriter {
 public:
  StatusWriter(Env env, client::Client& client);

  // The newest status of a pod; nothing is written when `pod` (its newest known state) shows it
  // already.
  void set(ObjectPtr pod, Value status);
  // The last status of a pod that is deleted, together with its removal from the API: one write.
  Task<Result<void>> finish(ObjectPtr pod, std::optional<Value> status);
  void forget(const std::string& uid);

  // Runs until cancelled.
  Task<void> run();

 private:
  struct Pending {
    ObjectPtr pod;
    Value status;
  };
  // What was written last, and the state of the pod that this made.
  struct Written {
    Value status;
    std::int64_t revision = 0;
    bool kept = true;  // the API shows all of it
  };
  bool is_known(const api::Object& pod, const Value& status) const;
  static client::Write patch(const api::Object& pod, Value status);

  Env env_;
  client::Client& client_;
  std::map<std::string, Pending> pending_;  // by uid
  std::map<std::string, Written> last_;     // by uid
  Signal changed_;
};

// Whether `shown` already says all that `wanted` says (null in `wanted`: absent).
bool covers(const Value& shown, const Value& wanted);

}  // namespace skiff::kubelet
