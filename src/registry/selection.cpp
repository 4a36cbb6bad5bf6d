#include "selection.hpp"

#include "errors.hpp"
#include "keys.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::registry {
namespace {

constexpr std::string_view kNodeName = "spec.nodeName";

// One field a kind is selected by: its label, where it stands, and what absence means.
struct Selectable {
  std::string_view group;
  std::string_view plural;
  std::string_view label;
  std::array<std::string_view, 3> path;
  std::string_view absent = "";
};

constexpr Selectable kSelectable[] = {
    {"", "pods", "spec.nodeName", {"spec", "nodeName"}},
    {"", "pods", "spec.restartPolicy", {"spec", "restartPolicy"}},
    {"", "pods", "spec.schedulerName", {"spec", "schedulerName"}},
    {"", "pods", "spec.serviceAccountName", {"spec", "serviceAccountName"}},
    {"", "pods", "spec.hostNetwork", {"spec", "hostNetwork"}, "false"},
    {"", "pods", "status.phase", {"status", "phase"}},
    {"", "pods", "status.podIP", {"status", "podIP"}},
    {"", "pods", "status.podIPs", {"status", "podIP"}},
    {"", "pods", "status.nominatedNodeName", {"status", "nominatedNodeName"}},
    {"", "nodes", "spec.unschedulable", {"spec", "unschedulable"}, "false"},
    {"", "namespaces", "status.phase", {"status", "phase"}},
    {"", "namespaces", "name", {"metadata", "name"}},
    {"", "secrets", "type", {"type"}},
    {"", "services", "spec.clusterIP", {"spec", "clusterIP"}},
    {"", "services", "spec.type", {"spec", "type"}},
    {"", "replicationcontrollers", "status.replicas", {"status", "replicas"}, "0"},
    {"batch", "jobs", "status.successful", {"status", "succeeded"}, "0"},
    {"certificates.k8s.io",
     "certificatesigningrequests",
     "spec.signerName",
     {"spec", "signerName"}},
    {"resource.k8s.io", "resourceslices", "spec.nodeName", {"spec", "nodeName"}},
    {"resource.k8s.io", "resourceslices", "spec.driver", {"spec", "driver"}},
    {"", "events", "involvedObject.kind", {"involvedObject", "kind"}},
    {"", "events", "involvedObject.namespace", {"involvedObject", "namespace"}},
    {"", "events", "involvedObject.name", {"involvedObject", "name"}},
    {"", "events", "involvedObject.uid", {"involvedObject", "uid"}},
    {"", "events", "involvedObject.apiVersion", {"involvedObject", "apiVersion"}},
    {"", "events", "involvedObject.resourceVersion", {"involvedObject", "resourceVersion"}},
    {"", "events", "involvedObject.fieldPath", {"involvedObject", "fieldPath"}},
    {"", "events", "reason", {"reason"}},
    {"", "events", "reportingComponent", {"reportingComponent"}},
    {"", "events", "source", {"source", "component"}},
    {"", "events", "type", {"type"}},
    {"events.k8s.io", "events", "regarding.kind", {"involvedObject", "kind"}},
    {"events.k8s.io", "events", "regarding.namespace", {"involvedObject", "namespace"}},
    {"events.k8s.io", "events", "regarding.name", {"involvedObject", "name"}},
    {"events.k8s.io", "events", "regarding.uid", {"involvedObject", "uid"}},
    {"events.k8s.io", "events", "regarding.apiVersion", {"involvedObject", "apiVersion"}},
    {"events.k8s.io", "events", "regarding.resourceVersion", {"involvedObject", "resourceVersion"}},
    {"events.k8s.io", "events", "regarding.fieldPath", {"involvedObject", "fieldPath"}},
    {"events.k8s.io", "events", "reason", {"reason"}},
    {"events.k8s.io", "events", "reportingController", {"reportingComponent"}},
    {"events.k8s.io", "events", "type", {"type"}},
};

const Selectable* find_selectable(const api::Resource& served, std::string_view label,
                                  bool& has_own) {
  const Selectable* found = nullptr;
  for (const Selectable& s : kSelectable) {
    if (s.group != served.group || s.plural != served.plural) continue;
    has_own = true;
    if (s.label == label) found = &s;
  }
  return found;
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool holds(const api::LabelSelector::Requirement& r, std::string_view raw) {
  using Operator = api::LabelSelector::Operator;
  const auto listed = [&] {
    return std::any_of(r.values.begin(), r.values.end(),
                       [&](const std::string& v) { return scan::equals(raw, v); });
  };
  switch (r.op) {
    case Operator::exists:
      return !raw.empty();
    case Operator::not_exists:
      return raw.empty();
    case Operator::in:
      return !raw.empty() && listed();
    case Operator::not_in:
      return raw.empty() || !listed();
    case Operator::greater:
    case Operator::less: {
      if (raw.empty() || r.values.empty()) return false;
      const auto have = number(scan::text(raw));
      const auto want = number(r.values.front());
      if (!have || !want) return false;
      return r.op == Operator::greater ? *have > *want : *have < *want;
    }
  }
  return false;
}

}  // namespace

Result<Selection> Selection::make(const api::Resource& served, std::string_view labels,
                                  std::string_view fields) {
  Selection s;
  if (!labels.empty()) {
    auto parsed = api::LabelSelector::parse(labels);
    if (!parsed) return errors::bad_request(parsed.error().message);
    s.labels_ = std::move(*parsed);
  }
  if (fields.empty()) return s;
  const auto parsed = api::FieldSelector::parse(fields);
  if (!parsed) return errors::bad_request(parsed.error().message);
  for (const auto& r : parsed->requirements()) {
    FieldTest test;
    test.label = r.field;
    test.value = r.value;
    test.equal = r.equal;
    bool has_own = false;
    if (r.field == "metadata.name") {
      test.path = {"metadata", "name"};
    } else if (r.field == "metadata.namespace" && served.namespaced) {
      test.path = {"metadata", "namespace"};
    } else if (const Selectable* found = find_selectable(served, r.field, has_own)) {
      for (const std::string_view step : found->path) {
        if (!step.empty()) test.path.push_back(step);
      }
      test.absent = found->absent;
    } else if (has_own) {
      return errors::bad_request("field label not supported: " + r.field);
    } else {
      return errors::bad_request("\"" + r.field +
                                 "\" is not a known field selector: only \"metadata.name\", "
                                 "\"metadata.namespace\"");
    }
    s.fields_.push_back(std::move(test));
  }
  return s;
}

bool Selection::labels_match(std::string_view json) const {
  if (labels_.empty()) return true;
  if (labels_.selects_nothing()) return false;
  const std::string_view labels = scan::find(json, {"metadata", "labels"});
  for (const auto& r : labels_.requirements()) {
    if (!holds(r, scan::find(labels, {r.key}))) return false;
  }
  return true;
}

bool Selection::fields_match(std::string_view json) const {
  for (const FieldTest& test : fields_) {
    const std::string_view raw = scan::find(json, test.path);
    const bool same = raw.empty() ? test.absent == test.value : scan::equals(raw, test.value);
    if (same != test.equal) return false;
  }
  return true;
}

bool Selection::matches(const store::Item& item) const {
  return fields_match(item.value) && labels_match(item.value);
}

store::Range Selection::range(const api::Resource& served, std::string_view ns) const {
  std::string_view wanted_ns = ns;
  const std::string* name = nullptr;
  for (const FieldTest& test : fields_) {
    if (!test.equal || test.value.empty()) continue;
    if (test.label == "metadata.namespace" && ns.empty()) wanted_ns = test.value;
    if (test.label == "metadata.name") name = &test.value;
  }
  if (name && (!served.namespaced || !wanted_ns.empty())) {
    return store::Range::key(keys::of(served, wanted_ns, *name));
  }
  return keys::range(served, wanted_ns);
}

std::optional<std::pair<std::string, std::string>> Selection::attribute() const {
  for (const FieldTest& test : fields_) {
    if (test.equal && test.label == kNodeName && test.path.size() == 2) {
      return std::pair(test.label, test.value);
    }
  }
  return std::nullopt;
}

store::Attributes attributes_of(const api::Resource& stored, const api::Value& root) {
  store::Attributes out;
  const bool on_nodes = (stored.plural == "pods" && stored.group.empty()) ||
                        (stored.plural == "resourceslices" && stored.group == "resource.k8s.io");
  if (on_nodes) out.emplace_back(kNodeName, root["spec"]["nodeName"].as_string());
  return out;
}

}  // namespace skiff::registry
