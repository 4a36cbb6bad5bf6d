// Which services a pod belongs to, and which pods a service has.
#pragma once

#include <map>
#include <set>

#include "controller.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::controllers {

// Watches services and pods for one controller: its queue gets the key of every service whose
// endpoints may have changed.
class ServicePods {
 public:
  explicit ServicePods(Context context);

  void watch(WorkQueue& queue);
  // Pods the service selects; none for one without a selector.
  std::vector<ObjectPtr> of(const api::Object& service) const;

  Informer& services() const noexcept { return *services_; }

 private:
  void service_changed(const ObjectPtr& previous, const ObjectPtr& current);
  void pod_changed(const ObjectPtr& previous, const ObjectPtr& current);

  Informer* services_;
  Informer* pods_;
  WorkQueue* queue_ = nullptr;
  // Selectors parsed once: every pod change is held against all of its namespace.
  std::map<api::NamespacedName, api::LabelSelector> selectors_;
};

}  // namespace skiff::controllers
