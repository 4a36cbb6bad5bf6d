#include "conversion.hpp"

#include "encode.hpp"
#include "keys.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::registry {
namespace {

using api::Value;

void rename(Value& object, std::string_view from, std::string_view to) {
  Value* found = object.find(from);
  if (!found) return;
  Value moved = std::move(*found);
  object.erase(from);
  object.set(to, std::move(moved));
}

// core/v1 name, events.k8s.io/v1 name.
constexpr std::pair<std::string_view, std::string_view> kEventNames[] = {
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
    {"reportingComponent", "reportingController"},
};

constexpr std::string_view kMetricsNote = "autoscaling.alpha.kubernetes.io/metrics";
constexpr std::string_view kBehaviorNote = "autoscaling.alpha.kubernetes.io/behavior";
constexpr std::string_view kConditionsNote = "autoscaling.alpha.kubernetes.io/conditions";

struct MetricForm {
  std::string_view source;    // "pods"
  std::string_view selector;  // what v1 calls metric.selector
  std::string_view value;     // what v1 calls target.value; "" if it has none
  std::string_view average;   // what v1 calls target.averageValue
};
constexpr MetricForm kMetricForms[] = {
    {"resource", "", "", "targetAverageValue"},
    {"containerResource", "", "", "targetAverageValue"},
    {"pods", "selector", "", "targetAverageValue"},
    {"object", "selector", "targetValue", "averageValue"},
    {"external", "metricSelector", "targetValue", "targetAverageValue"},
};

Value metric_to_v1(const Value& metric) {
  Value out = Value::object({{"type", metric["type"]}});
  for (const MetricForm& form : kMetricForms) {
    const Value& source = metric[form.source];
    if (!source.is_object()) continue;
    const Value& target = source["target"];
    Value v = Value::object();
    for (const std::string_view same : {"name", "container"}) {
      if (source.has(same)) v.set(same, source[same]);
    }
    if (source.has("describedObject")) v.set("target", source["describedObject"]);
    if (const Value& m = source["metric"]; m.is_object()) {
      v.set("metricName", m["name"]);
      if (m.has("selector")) v.set(form.selector, m["selector"]);
    }
    if (!form.value.empty() && target.has("value")) v.set(form.value, target["value"]);
    if (target.has("averageValue")) v.set(form.average, target["averageValue"]);
    if (target.has("averageUtilization")) {
      v.set("targetAverageUtilization", target["averageUtilization"]);
    }
    out.set(form.source, std::move(v));
  }
  return out;
}

Value metric_from_v1(const Value& metric) {
  Value out = Value::object({{"type", metric["type"]}});
  for (const MetricForm& form : kMetricForms) {
    const Value& source = metric[form.source];
    if (!source.is_object()) continue;
    Value v = Value::object();
    Value target = Value::object();
    for (const std::string_view same : {"name", "container"}) {
      if (source.has(same)) v.set(same, source[same]);
    }
    if (source.has("target")) v.set("describedObject", source["target"]);
    if (source.has("metricName")) {
      Value& m = v.set("metric", Value::object({{"name", source["metricName"]}}));
      if (source.has(form.selector)) m.set("selector", source[form.selector]);
    }
    if (!form.value.empty() && source.has(form.value)) {
      target.set("type", "Value");
      target.set("value", source[form.value]);
    }
    if (source.has(form.average)) {
      target.set("type", "AverageValue");
      target.set("averageValue", source[form.average]);
    }
    if (source.has("targetAverageUtilization")) {
      target.set("type", "Utilization");
      target.set("averageUtilization", source["targetAverageUtilization"]);
    }
    v.set("target", std::move(target));
    out.set(form.source, std::move(v));
  }
  return out;
}

bool is_cpu_utilization(const Value& metric) {
  const Value& r = metric["resource"];
  return metric["type"].as_string() == "Resource" && r["name"].as_string() == "cpu" &&
         r["target"].has("averageUtilization");
}

void annotate(Value& doc, std::string_view name, const Value& what) {
  doc.member("metadata").member("annotations").set(name, api::to_json(what));
}

void autoscaler_to_v1(Value& doc) {
  Value& spec = doc.member("spec");
  Value others = Value::array();
  for (const Value& metric : spec["metrics"].items()) {
    if (is_cpu_utilization(metric) && !spec.has("targetCPUUtilizationPercentage")) {
      spec.set("targetCPUUtilizationPercentage",
               metric["resource"]["target"]["averageUtilization"]);
    } else {
      others.push_back(metric_to_v1(metric));
    }
  }
  spec.erase("metrics");
  if (!others.empty()) annotate(doc, kMetricsNote, others);
  if (const Value* behavior = spec.find("behavior")) {
    const Value copy = *behavior;
    spec.erase("behavior");
    annotate(doc, kBehaviorNote, copy);
  }
  Value* status = doc.find("status");
  if (!status) return;
  for (const Value& metric : (*status)["currentMetrics"].items()) {
    const Value& current = metric["resource"]["current"];
    if (metric["resource"]["name"].as_string() == "cpu" && current.has("averageUtilization")) {
      status->set("currentCPUUtilizationPercentage", current["averageUtilization"]);
      break;
    }
  }
  status->erase("currentMetrics");
  const Value conditions = (*status)["conditions"];
  status->erase("conditions");
  if (!conditions.empty()) annotate(doc, kConditionsNote, conditions);
}

// Takes the annotation away and returns what it held; null when absent or unreadable.
Value take_note(Value& doc, std::string_view name) {
  Value* metadata = doc.find("metadata");
  Value* notes = metadata ? metadata->find("annotations") : nullptr;
  if (!notes || !notes->has(name)) return {};
  auto parsed = api::parse_json((*notes)[name].as_string());
  notes->erase(name);
  if (notes->empty()) metadata->erase("annotations");
  return parsed ? std::move(*parsed) : Value();
}

void autoscaler_from_v1(Value& doc) {
  const Value noted = take_note(doc, kMetricsNote);
  Value behavior = take_note(doc, kBehaviorNote);
  Value conditions = take_note(doc, kConditionsNote);
  Value& spec = doc.member("spec");
  Value metrics = Value::array();
  if (const Value* cpu = spec.find("targetCPUUtilizationPercentage")) {
    Value target = Value::object({{"type", "Utilization"}, {"averageUtilization", *cpu}});
    Value resource = Value::object({{"name", "cpu"}});
    resource.set("target", std::move(target));
    Value& metric = metrics.push_back(Value::object({{"type", "Resource"}}));
    metric.set("resource", std::move(resource));
  }
  spec.erase("targetCPUUtilizationPercentage");
  for (const Value& metric : noted.items()) metrics.push_back(metric_from_v1(metric));
  if (!metrics.empty()) spec.set("metrics", std::move(metrics));
  if (behavior.is_object()) spec.set("behavior", std::move(behavior));
  if (Value* status = doc.find("status")) {
    status->erase("currentCPUUtilizationPercentage");
    if (conditions.is_array()) status->set("conditions", std::move(conditions));
  }
}

void set_type(Value& doc, const api::Resource& resource) {
  doc.set("kind", resource.kind);
  doc.set(
      "apiVersion",
      api::GroupVersion{std::string(resource.group), std::string(resource.version)}.to_string());
}

}  // namespace

void to_stored(const api::Resource& served, Value& doc) {
  if (!keys::converts(served)) return;
  if (served.plural == "events") {
    // Which of the two is stored decides the direction.
    const bool core = keys::stored(served).group.empty();
    for (const auto& [in_core, in_events] : kEventNames) {
      core ? rename(doc, in_events, in_core) : rename(doc, in_core, in_events);
    }
  } else if (served.plural == "horizontalpodautoscalers") {
    served.version == "v1" ? autoscaler_from_v1(doc) : autoscaler_to_v1(doc);
  }
  set_type(doc, keys::stored(served));
}

void to_served(const api::Resource& served, Value& doc) {
  if (!keys::converts(served)) return;
  if (served.plural == "events") {
    const bool core = served.group.empty();
    for (const auto& [in_core, in_events] : kEventNames) {
      core ? rename(doc, in_events, in_core) : rename(doc, in_core, in_events);
    }
  } else if (served.plural == "horizontalpodautoscalers") {
    served.version == "v1" ? autoscaler_to_v1(doc) : autoscaler_from_v1(doc);
  }
  set_type(doc, served);
}

store::ItemPtr served_item(const api::Resource& served, const store::ItemPtr& stored) {
  if (!stored || !keys::converts(served)) return stored;
  Value doc = object_of(stored)->root();
  to_served(served, doc);
  std::string json;
  api::append_json(json, doc);
  return make_item(stored->key, std::move(json), stored->created, stored->modified);
}

}  // namespace skiff::registry
