#include "restore.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "diff.hpp"

namespace skiff::cli {
namespace {

using api::Resource;
using api::Value;

// Who makes these makes them again.
constexpr std::array<std::string_view, 5> kMade = {"endpoints", "endpointslices", "events",
                                                   "leases", "controllerrevisions"};
// Created before everything else, in this order: others need them to be there.
constexpr std::array<std::string_view, 11> kFirst = {
    "resourcequotas", "limitranges",     "serviceaccounts",     "secrets",
    "configmaps",     "roles",           "rolebindings",        "persistentvolumeclaims",
    "services",       "networkpolicies", "poddisruptionbudgets"};
// What the cluster gave a Service; two versions of one Service may differ in it only by accident.
constexpr std::array<std::string_view, 4> kServiceGiven = {"clusterIP", "clusterIPs", "ipFamilies",
                                                           "ipFamilyPolicy"};

bool is(const Resource& r, std::string_view group, std::string_view plural) {
  return r.group == group && r.plural == plural;
}

int rank(const Resource& r) {
  const auto at = std::find(kFirst.begin(), kFirst.end(), r.plural);
  return static_cast<int>(at - kFirst.begin());
}

// Annotations and labels that controllers keep, not users.
bool is_controllers(std::string_view annotation) {
  return annotation.starts_with("deployment.kubernetes.io/") ||
         annotation.starts_with("endpoints.kubernetes.io/") ||
         annotation.starts_with("pv.kubernetes.io/") ||
         annotation.starts_with("volume.kubernetes.io/");
}

// `to` keeps its own of what controllers wrote there, and nothing of what they wrote in `from`.
void keep_controllers_annotations(Value& doc, const Value& now) {
  Value merged = Value::object();
  for (const api::Member& m : doc["metadata"]["annotations"].members()) {
    if (!is_controllers(m.name)) merged.set(m.name, m.value);
  }
  for (const api::Member& m : now["metadata"]["annotations"].members()) {
    if (is_controllers(m.name)) merged.set(m.name, m.value);
  }
  Value& metadata = doc.member("metadata");
  if (merged.members().empty()) {
    metadata.erase("annotations");
  } else {
    metadata.set("annotations", std::move(merged));
  }
}

void take_over(Value& doc, const Value& now, std::string_view section, std::string_view field) {
  Value& part = doc.member(section);
  if (!part.is_object()) return;
  if (const Value* v = now[section].find(field)) {
    part.set(field, *v);
  } else {
    part.erase(field);
  }
}

bool has_address(const Value& service) {
  return service["spec"]["type"].as_string() != "ExternalName" &&
         service["spec"]["clusterIP"].as_string() != "None";
}

// Both documents as far as an undo cares.
Value comparable(const Resource& r, const Value& doc) {
  Value out = without_noise(doc);
  keep_controllers_annotations(out, Value::object());
  Value& metadata = out.member("metadata");
  for (const std::string_view name : {"uid", "creationTimestamp", "deletionTimestamp",
                                      "deletionGracePeriodSeconds", "ownerReferences"}) {
    metadata.erase(name);
  }
  if (is(r, "", "services") && has_address(doc)) {
    for (const std::string_view f : kServiceGiven) out.member("spec").erase(f);
  }
  if (is(r, "", "pods")) out.member("spec").erase("nodeName");
  return out;
}

std::string key_of(const Dated& d) {
  return std::string(d.resource->group) + "/" + std::string(d.resource->plural) + "/" +
         d.object["metadata"]["name"].as_string();
}

RestoreStep step_for(RestoreStep::Type type, const Dated& d) {
  RestoreStep s;
  s.type = type;
  s.resource = d.resource;
  s.name = d.object["metadata"]["name"].as_string();
  s.ns = d.object["metadata"]["namespace"].as_string();
  return s;
}

}  // namespace

Value restored(const Resource& r, const Value& was, const Value& now) {
  Value doc = without_noise(was);
  Value& metadata = doc.member("metadata");
  metadata.erase("deletionTimestamp");
  metadata.erase("deletionGracePeriodSeconds");
  take_over(doc, now, "metadata", "uid");
  take_over(doc, now, "metadata", "resourceVersion");
  take_over(doc, now, "metadata", "creationTimestamp");
  take_over(doc, now, "metadata", "ownerReferences");
  keep_controllers_annotations(doc, now);
  if (is(r, "", "services") && has_address(was) && has_address(now)) {
    for (const std::string_view f : kServiceGiven) take_over(doc, now, "spec", f);
  }
  if (is(r, "", "pods")) take_over(doc, now, "spec", "nodeName");
  if (is(r, "", "persistentvolumeclaims")) take_over(doc, now, "spec", "volumeName");
  if (const Value* status = now.find("status")) doc.set("status", *status);
  return doc;
}

Value recreated(const Resource& r, const Value& was) {
  Value doc = without_noise(was);
  Value& metadata = doc.member("metadata");
  for (const std::string_view name :
       {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
        // An owner that is gone, or came back as another, would take the object with it.
        "ownerReferences"}) {
    metadata.erase(name);
  }
  keep_controllers_annotations(doc, Value::object());
  if (is(r, "", "pods")) doc.member("spec").erase("nodeName");
  if (is(r, "", "persistentvolumeclaims")) doc.member("spec").erase("volumeName");
  return doc;
}

bool same_but_noise(const Resource& r, const Value& was, const Value& now) {
  return comparable(r, was) == comparable(r, now);
}

bool is_controlled(const Resource& r, const Value& object) {
  if (std::find(kMade.begin(), kMade.end(), r.plural) != kMade.end()) return true;
  const auto owners = object["metadata"]["ownerReferences"].items();
  return std::any_of(owners.begin(), owners.end(),
                     [](const Value& o) { return o["controller"].as_bool(); });
}

std::vector<RestoreStep> plan_restore(const std::vector<Dated>& was,
                                      const std::vector<Dated>& now) {
  std::map<std::string, const Dated*> current;
  for (const Dated& d : now) current[key_of(d)] = &d;
  std::vector<RestoreStep> creates;
  std::vector<RestoreStep> updates;
  std::vector<RestoreStep> removals;
  for (const Dated& d : was) {
    const auto there = current.find(key_of(d));
    const bool exists = there != current.end();
    const Dated* here = exists ? there->second : nullptr;
    if (exists) current.erase(there);
    if (is_controlled(*d.resource, d.object)) continue;
    if (!exists) {
      RestoreStep s = step_for(RestoreStep::Type::create, d);
      s.document = recreated(*d.resource, d.object);
      creates.push_back(std::move(s));
    } else if (!same_but_noise(*d.resource, d.object, here->object)) {
      RestoreStep s = step_for(RestoreStep::Type::update, d);
      s.document = restored(*d.resource, d.object, here->object);
      s.before = here->object;
      updates.push_back(std::move(s));
    }
  }
  for (const auto& [key, d] : current) {
    if (is_controlled(*d->resource, d->object)) continue;
    RestoreStep s = step_for(RestoreStep::Type::remove, *d);
    s.document = d->object;
    s.uid = d->object["metadata"]["uid"].as_string();
    s.revision = d->object["metadata"]["resourceVersion"].as_string();
    removals.push_back(std::move(s));
  }
  const auto before = [](const RestoreStep& a, const RestoreStep& b) {
    return rank(*a.resource) < rank(*b.resource);
  };
  std::stable_sort(creates.begin(), creates.end(), before);
  std::stable_sort(updates.begin(), updates.end(), before);
  std::stable_sort(removals.begin(), removals.end(),
                   [&](const RestoreStep& a, const RestoreStep& b) { return before(b, a); });
  std::move(updates.begin(), updates.end(), std::back_inserter(creates));
  std::move(removals.begin(), removals.end(), std::back_inserter(creates));
  return creates;
}

}  // namespace skiff::cli
