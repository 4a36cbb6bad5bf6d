// Kinds that are served under two group-versions but kept under one: Events (core and
// events.k8s.io) and HorizontalPodAutoscalers (autoscaling/v1 and v2).
#pragma once

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry {

// In place; nothing happens when `served` is the stored form.
void to_stored(const api::Resource& served, api::Value& doc);
void to_served(const api::Resource& served, api::Value& doc);

// The item as `served` shows it; the same item when nothing differs.
store::ItemPtr served_item(const api::Resource& served, const store::ItemPtr& stored);

}  // namespace skiff::registry
