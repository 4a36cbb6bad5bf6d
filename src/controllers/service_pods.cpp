#include "service_pods.hpp"

#include "endpoint_plan.hpp"

namespace skiff::controllers {
namespace {

// What of a pod shows in endpoints, its labels aside.
bool looks_the_same(const Value& a, const Value& b) {
  return a["status"]["podIPs"] == b["status"]["podIPs"] &&
         a["status"]["podIP"] == b["status"]["podIP"] && pod_ready(a) == pod_ready(b) &&
         pod_finished(a) == pod_finished(b) &&
         a["metadata"]["deletionTimestamp"].is_null() ==
             b["metadata"]["deletionTimestamp"].is_null() &&
         a["spec"]["nodeName"] == b["spec"]["nodeName"];
}

}  // namespace

ServicePods::ServicePods(Context context)
    : services_(&context.informers->get(resources::kServices)),
      pods_(&context.informers->get(resources::kPods)) {}

void ServicePods::watch(WorkQueue& queue) {
  queue_ = &queue;
  services_->add_handler([this](const ObjectPtr& previous, const ObjectPtr& current) {
    service_changed(previous, current);
  });
  pods_->add_handler([this](const ObjectPtr& previous, const ObjectPtr& current) {
    pod_changed(previous, current);
  });
}

void ServicePods::service_changed(const ObjectPtr& previous, const ObjectPtr& current) {
  const NamespacedName key = (current ? current : previous)->key();
  const bool selects = current && !(*current)["spec"]["selector"].empty();
  if (selects) {
    selectors_.insert_or_assign(key, api::LabelSelector::from_map((*current)["spec"]["selector"]));
  } else {
    selectors_.erase(key);
  }
  queue_->add(key);
}

void ServicePods::pod_changed(const ObjectPtr& previous, const ObjectPtr& current) {
  const bool moved = previous && current && !(previous->labels() == current->labels());
  if (previous && current && !moved && looks_the_same(previous->root(), current->root())) return;
  const api::Object& pod = current ? *current : *previous;
  for (auto it = selectors_.lower_bound({pod.ns(), ""});
       it != selectors_.end() && it->first.ns == pod.ns(); ++it) {
    const bool now = it->second.matches(pod.labels());
    const bool before = moved && it->second.matches(previous->labels());
    if (now || before) queue_->add(it->first);
  }
}

std::vector<ObjectPtr> ServicePods::of(const api::Object& service) const {
  const auto selector = selectors_.find(service.key());
  if (selector == selectors_.end()) return {};
  std::vector<ObjectPtr> out;
  for (ObjectPtr& pod : pods_->in_namespace(service.ns())) {
    if (selector->second.matches(pod->labels())) out.push_back(std::move(pod));
  }
  return out;
}

}  // namespace skiff::controllers
