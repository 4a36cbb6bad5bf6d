// Brings a container's image to the node according to its pull policy, with back-off after
// failures.
#pragma once

#include <map>
#include <string>

#include "objects.hpp"
#include "pod.hpp"
#include "skiff/client/reconcile.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::kubelet {

// Why a container cannot have its image: a waiting reason with its message, and when to try again.
struct PullProblem {
  std::string reason;
  std::string message;
  TimePoint retry_at{};
};

struct PullOutcome {
  std::optional<runtime::Image> image;
  PullProblem problem;  // when there is no image
};

class ImagePuller {
 public:
  ImagePuller(Env env, runtime::ImageStore& images, ObjectWatches& objects,
              client::EventRecorder& events, std::string default_registry);

  Task<PullOutcome> ensure(ObjectPtr pod, std::string container);
  // Whether ensure() would have to fetch the image (or is waiting to).
  Task<bool> would_pull(ObjectPtr pod, std::string container);
  void forget(const std::string& pod_uid);

 private:
  struct BackOff {
    int failures = 0;
    TimePoint until{};
    std::string message;
  };
  struct Wanted {
    std::string image;
    std::string policy;
    std::string field_path;
    bool has_registry = false;
  };
  static Result<Wanted> wanted(const Value& pod, const std::string& container);
  Task<Result<runtime::Keyring>> keyring(ObjectPtr pod);
  Task<PullOutcome> pull(ObjectPtr pod, Wanted wanted);

  Env env_;
  runtime::ImageStore& images_;
  ObjectWatches& objects_;
  client::EventRecorder& events_;
  std::string default_registry_;
  std::map<std::pair<std::string, std::string>, BackOff> back_off_;  // (pod uid, image)
};

}  // namespace skiff::kubelet
