#include "image_puller.hpp"

#include <fmt/format.h>

#include "base64.hpp"

namespace skiff::kubelet {
namespace {

constexpr Duration kFirstBackOff = 10s;
constexpr Duration kMaxBackOff = 300s;

std::string seconds_text(Duration d) {
  return fmt::format("{:.3g}s", std::chrono::duration<double>(d).count());
}

std::string field_path_of(const Value& pod, const std::string& container) {
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    if (find_named(pod["spec"][list], container) != nullptr) {
      return std::string("spec.") + list + "{" + container + "}";
    }
  }
  return "";
}

}  // namespace

ImagePuller::ImagePuller(Env env, runtime::ImageStore& images, ObjectWatches& objects,
                         client::EventRecorder& events, std::string default_registry)
    : env_(env),
      images_(images),
      objects_(objects),
      events_(events),
      default_registry_(std::move(default_registry)) {}

Result<ImagePuller::Wanted> ImagePuller::wanted(const Value& pod, const std::string& container) {
  const Value* spec = find_container(pod, container);
  if (spec == nullptr) return Error{Code::invalid, "container " + container + " not found"};
  Wanted out;
  out.image = (*spec)["image"].as_string();
  out.policy = (*spec)["imagePullPolicy"].as_string();
  out.field_path = field_path_of(pod, container);
  SKIFF_TRY(const auto reference, runtime::ImageReference::parse(out.image));
  out.has_registry = !reference.registry.empty();
  return out;
}

Task<bool> ImagePuller::would_pull(ObjectPtr pod, std::string container) {
  const auto want = wanted(pod->root(), container);
  if (!want) co_return false;
  const Result<runtime::Image> local = co_await images_.resolve(want->image);
  const bool remote = want->has_registry || !default_registry_.empty();
  co_return !local || (want->policy == "Always" && remote && !local->pinned);
}

Task<PullOutcome> ImagePuller::ensure(ObjectPtr pod, std::string container) {
  PullOutcome out;
  const auto want = wanted(pod->root(), container);
  if (!want) {
    const Value* spec = find_container(pod->root(), container);
    const std::string image = spec != nullptr ? (*spec)["image"].as_string() : "";
    out.problem = {"InvalidImageName",
                   "Failed to apply default image tag \"" + image + "\": " + want.error().message,
                   TimePoint::max()};
    events_.event(*pod, "Warning", "InspectFailed", out.problem.message,
                  field_path_of(pod->root(), container));
    co_return out;
  }
  Result<runtime::Image> local = co_await images_.resolve(want->image);
  // A name without a registry means a local image where no default registry is set, and a built-in
  // image has nowhere to be fetched from: asking for a fresh copy of either would only take away
  // what is there.
  const bool remote = want->has_registry || !default_registry_.empty();
  const bool fresh = want->policy == "Always" && remote && !(local && local->pinned);
  if (local && !fresh) {
    events_.event(*pod, "Normal", "Pulled",
                  "Container image \"" + want->image + "\" already present on machine",
                  want->field_path);
    out.image = std::move(*local);
    co_return out;
  }
  if (want->policy == "Never") {
    out.problem = {
        "ErrImageNeverPull",
        "Container image \"" + want->image + "\" is not present with pull policy of Never",
        TimePoint::max()};
    events_.event(*pod, "Warning", "ErrImageNeverPull", out.problem.message, want->field_path);
    co_return out;
  }
  const auto it = back_off_.find({pod->uid(), want->image});
  if (it != back_off_.end() && it->second.until > env_.clock->now()) {
    out.problem = {
        "ImagePullBackOff",
        "Back-off pulling image \"" + want->image + "\": ErrImagePull: " + it->second.message,
        it->second.until};
    events_.event(*pod, "Normal", "BackOff", "Back-off pulling image \"" + want->image + "\"",
                  want->field_path);
    events_.event(*pod, "Warning", "Failed", "Error: ImagePullBackOff", want->field_path);
    co_return out;
  }
  Wanted copy = *want;
  co_return co_await pull(pod, std::move(copy));
}

Task<PullOutcome> ImagePuller::pull(ObjectPtr pod, Wanted want) {
  PullOutcome out;
  events_.event(*pod, "Normal", "Pulling", "Pulling image \"" + want.image + "\"", want.field_path);
  const TimePoint start = env_.clock->now();
  Result<runtime::Keyring> keys = co_await keyring(pod);
  Result<runtime::Image> image = Error{Code::internal, ""};
  if (keys) {
    image = co_await images_.pull(want.image, std::move(*keys));
  } else {
    image = keys.error();
  }
  const std::pair key(pod->uid(), want.image);
  if (image) {
    back_off_.erase(key);
    const std::string took = seconds_text(env_.clock->now() - start);
    events_.event(*pod, "Normal", "Pulled",
                  fmt::format("Successfully pulled image \"{}\" in {} ({} including waiting). "
                              "Image size: {} bytes.",
                              want.image, took, took, image->size),
                  want.field_path);
    out.image = std::move(*image);
    co_return out;
  }
  BackOff& back_off = back_off_[key];
  const Duration delay =
      std::min<Duration>(kFirstBackOff * (1 << std::min(back_off.failures, 5)), kMaxBackOff);
  ++back_off.failures;
  back_off.until = env_.clock->now() + delay;
  back_off.message = image.error().message;
  events_.event(*pod, "Warning", "Failed",
                "Failed to pull image \"" + want.image + "\": " + image.error().message,
                want.field_path);
  events_.event(*pod, "Warning", "Failed", "Error: ErrImagePull", want.field_path);
  // The second look, a moment later, turns this into ImagePullBackOff, as users know it.
  out.problem = {"ErrImagePull", image.error().message, env_.clock->now() + 1s};
  co_return out;
}

Task<Result<runtime::Keyring>> ImagePuller::keyring(ObjectPtr pod) {
  runtime::Keyring keys;
  for (const Value& reference : (*pod)["spec"]["imagePullSecrets"].items()) {
    const client::Ref ref =
        client::resources::kSecrets.at(pod->ns(), reference["name"].as_string());
    objects_.use(pod->uid(), ref);
    const Result<ObjectPtr> secret = co_await objects_.get(ref);
    if (!secret) continue;  // upstream goes on without it, too: the image may be public
    const Value& data = (**secret)["data"];
    if (const Value* config = data.find(".dockerconfigjson")) {
      SKIFF_CO_CHECK(keys.add_docker_config_json(decode_base64(config->as_string())));
    } else if (const Value* old = data.find(".dockercfg")) {
      SKIFF_CO_CHECK(keys.add_docker_cfg(decode_base64(old->as_string())));
    }
  }
  co_return keys;
}

void ImagePuller::forget(const std::string& pod_uid) {
  const auto first = back_off_.lower_bound({pod_uid, ""});
  auto last = first;
  while (last != back_off_.end() && last->first.first == pod_uid) ++last;
  back_off_.erase(first, last);
}

}  // namespace skiff::kubelet
