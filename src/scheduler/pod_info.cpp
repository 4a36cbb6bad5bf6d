#include "pod_info.hpp"

#include "skiff/api/quantity.hpp"

namespace skiff::scheduler {
namespace {

using api::LabelSelector;
using api::Value;

constexpr std::int64_t kDefaultMilliCpu = 100;
constexpr std::int64_t kDefaultMemory = 200LL * 1024 * 1024;

std::int64_t int_value(std::string_view text, bool milli) {
  const auto q = api::Quantity::parse(text);
  if (!q) return 0;  // validation let it in; a broken one asks for nothing
  return milli ? q->milli_value() : q->value();
}

LabelSelector::Operator operator_of(std::string_view op) {
  if (op == "In") return LabelSelector::Operator::in;
  if (op == "NotIn") return LabelSelector::Operator::not_in;
  if (op == "DoesNotExist") return LabelSelector::Operator::not_exists;
  if (op == "Gt") return LabelSelector::Operator::greater;
  if (op == "Lt") return LabelSelector::Operator::less;
  return LabelSelector::Operator::exists;
}

std::vector<LabelSelector::Requirement> requirements_of(const Value& list) {
  std::vector<LabelSelector::Requirement> out;
  for (const Value& item : list.items()) {
    LabelSelector::Requirement r{
        item["key"].as_string(), operator_of(item["operator"].as_string()), {}};
    for (const Value& v : item["values"].items()) r.values.push_back(v.as_string());
    out.push_back(std::move(r));
  }
  return out;
}

NodeSelectorTerm term_of(const Value& term) {
  return {requirements_of(term["matchExpressions"]), requirements_of(term["matchFields"])};
}

bool matches_all(const std::vector<LabelSelector::Requirement>& requirements, const Value& labels) {
  LabelSelector selector;
  for (const auto& r : requirements) selector.add(r);
  return selector.matches(labels);
}

// matchLabelKeys and mismatchLabelKeys (KEP-3633) add the incoming pod's own label values to the
// selector.
void add_label_keys(LabelSelector& selector, const Value& keys, const Value& labels,
                    LabelSelector::Operator op) {
  for (const Value& key : keys.items()) {
    const Value* value = labels.find(key.as_string());
    if (value != nullptr) selector.add({key.as_string(), op, {value->as_string()}});
  }
}

PodAffinityTerm affinity_term(const Value& term, const PodInfo& pod) {
  PodAffinityTerm out;
  if (auto selector = LabelSelector::from(term["labelSelector"]))
    out.selector = std::move(*selector);
  add_label_keys(out.selector, term["matchLabelKeys"], pod.labels, LabelSelector::Operator::in);
  add_label_keys(out.selector, term["mismatchLabelKeys"], pod.labels,
                 LabelSelector::Operator::not_in);
  for (const Value& ns : term["namespaces"].items()) out.namespaces.push_back(ns.as_string());
  if (term.has("namespaceSelector")) {
    if (auto selector = LabelSelector::from(term["namespaceSelector"])) {
      out.ns_selector = std::move(*selector);
    }
  } else if (out.namespaces.empty()) {
    out.namespaces.push_back(pod.key.ns);
  }
  out.topology_key = term["topologyKey"].as_string();
  return out;
}

std::vector<PodAffinityTerm> affinity_terms(const Value& list, const PodInfo& pod) {
  std::vector<PodAffinityTerm> out;
  for (const Value& item : list.items()) {
    const bool weighted = item.has("podAffinityTerm");
    out.push_back(affinity_term(weighted ? item["podAffinityTerm"] : item, pod));
    if (weighted) out.back().weight = item["weight"].as_int();
  }
  return out;
}

SpreadConstraint spread_constraint(const Value& c, const PodInfo& pod) {
  SpreadConstraint out;
  out.max_skew = c["maxSkew"].as_int(1);
  out.topology_key = c["topologyKey"].as_string();
  out.hard = c["whenUnsatisfiable"].as_string() != "ScheduleAnyway";
  if (auto selector = LabelSelector::from(c["labelSelector"])) out.selector = std::move(*selector);
  add_label_keys(out.selector, c["matchLabelKeys"], pod.labels, LabelSelector::Operator::in);
  out.min_domains = c["minDomains"].as_int(1);
  out.honor_affinity = c["nodeAffinityPolicy"].as_string_or("Honor") == "Honor";
  out.honor_taints = c["nodeTaintsPolicy"].as_string_or("Ignore") == "Honor";
  return out;
}

// KEP-753: init containers run one after another beside the sidecars started before them.
void sum_requests(const Value& spec, Resources& exact, Resources& nonzero) {
  const auto requests_of = [](const Value& container, bool fill) {
    Resources r = Resources::parse(container["resources"]["requests"]);
    if (fill && !container["resources"]["requests"].has("cpu")) r.milli_cpu = kDefaultMilliCpu;
    if (fill && !container["resources"]["requests"].has("memory")) r.memory = kDefaultMemory;
    return r;
  };
  for (const bool fill : {false, true}) {
    Resources total;
    for (const Value& c : spec["containers"].items()) total.add(requests_of(c, fill));
    Resources sidecars;
    Resources init_peak;
    for (const Value& c : spec["initContainers"].items()) {
      Resources r = requests_of(c, fill);
      if (c["restartPolicy"].as_string() == "Always") {
        sidecars.add(r);
        total.add(r);
        init_peak.raise_to(sidecars);
      } else {
        r.add(sidecars);
        init_peak.raise_to(r);
      }
    }
    total.raise_to(init_peak);
    const Value& pod_level = spec["resources"]["requests"];
    if (!pod_level.empty()) {  // KEP-2837: pod-level requests win over the sum
      const Resources p = Resources::parse(pod_level);
      if (pod_level.has("cpu")) total.milli_cpu = p.milli_cpu;
      if (pod_level.has("memory")) total.memory = p.memory;
    }
    total.add(Resources::parse(spec["overhead"]));
    (fill ? nonzero : exact) = std::move(total);
  }
}

void collect_ports(const Value& spec, std::vector<HostPort>& out) {
  for (const char* list : {"containers", "initContainers"}) {
    for (const Value& c : spec[list].items()) {
      if (list[0] == 'i' && c["restartPolicy"].as_string() != "Always") continue;
      for (const Value& p : c["ports"].items()) {
        if (p["hostPort"].as_int() <= 0) continue;
        out.push_back({std::string(p["protocol"].as_string_or("TCP")),
                       std::string(p["hostIP"].as_string_or("0.0.0.0")), p["hostPort"].as_int()});
      }
    }
  }
}

// As nodes report images.
std::string with_tag(const std::string& image) {
  const std::size_t slash = image.rfind('/');
  const std::size_t colon = image.rfind(':');
  const bool tagged = colon != std::string::npos && (slash == std::string::npos || colon > slash);
  return tagged ? image : image + ":latest";
}

}  // namespace

void Resources::add(const Resources& o) {
  milli_cpu += o.milli_cpu;
  memory += o.memory;
  ephemeral_storage += o.ephemeral_storage;
  for (const auto& [name, amount] : o.extended) extended[name] += amount;
}

void Resources::subtract(const Resources& o) {
  milli_cpu -= o.milli_cpu;
  memory -= o.memory;
  ephemeral_storage -= o.ephemeral_storage;
  for (const auto& [name, amount] : o.extended) extended[name] -= amount;
}

void Resources::raise_to(const Resources& o) {
  milli_cpu = std::max(milli_cpu, o.milli_cpu);
  memory = std::max(memory, o.memory);
  ephemeral_storage = std::max(ephemeral_storage, o.ephemeral_storage);
  for (const auto& [name, amount] : o.extended) {
    auto& mine = extended[name];
    mine = std::max(mine, amount);
  }
}

Resources Resources::parse(const Value& quantities) {
  Resources r;
  for (const auto& [name, value] : quantities.members()) {
    const std::string& text = value.as_string();
    if (name == "cpu") {
      r.milli_cpu = int_value(text, true);
    } else if (name == "memory") {
      r.memory = int_value(text, false);
    } else if (name == "ephemeral-storage") {
      r.ephemeral_storage = int_value(text, false);
    } else if (name == "pods") {
      r.pods = int_value(text, false);
    } else {
      r.extended[name] = int_value(text, false);
    }
  }
  return r;
}

bool Toleration::tolerates(const Taint& taint) const {
  if (!effect.empty() && effect != taint.effect) return false;
  if (!key.empty() && key != taint.key) return false;
  if (op == "Exists") return true;
  if (op.empty() || op == "Equal") return !key.empty() && value == taint.value;
  return false;
}

bool HostPort::conflicts(const HostPort& o) const {
  const auto any = [](const std::string& address) {
    return address.empty() || address == "0.0.0.0";
  };
  return port == o.port && protocol == o.protocol && (ip == o.ip || any(ip) || any(o.ip));
}

bool NodeSelectorTerm::matches(const Value& node_labels, const std::string& node_name) const {
  if (labels.empty() && fields.empty()) return false;  // an empty term matches nothing
  if (!matches_all(labels, node_labels)) return false;
  return fields.empty() ||
         matches_all(fields, Value::object({{"metadata.name", Value(node_name)}}));
}

bool PodInfo::is_terminal(const api::Object& pod) {
  const std::string& phase = pod["status"]["phase"].as_string();
  return phase == "Succeeded" || phase == "Failed";
}

PodInfo::PodInfo(api::ObjectPtr pod) : object(std::move(pod)) {
  const Value& root = object->root();
  const Value& spec = root["spec"];
  key = object->key();
  uid = object->uid();
  node_name = spec["nodeName"].as_string();
  scheduler_name = spec["schedulerName"].as_string();
  if (const Value* owner = api::controller_of(root)) controller_uid = (*owner)["uid"].as_string();
  priority = spec["priority"].as_int();
  terminal = is_terminal(*object);
  deleting = object->deleting();
  gated = !spec["schedulingGates"].empty();
  labels = object->labels();
  sum_requests(spec, requests, nonzero_requests);
  collect_ports(spec, host_ports);
  for (const char* list : {"initContainers", "containers"}) {
    for (const Value& c : spec[list].items()) images.push_back(with_tag(c["image"].as_string()));
  }
  for (const Value& t : spec["tolerations"].items()) {
    tolerations.push_back({t["key"].as_string(), t["operator"].as_string(), t["value"].as_string(),
                           t["effect"].as_string()});
  }
  node_selector = LabelSelector::from_map(spec["nodeSelector"]);

  const Value& node_affinity = spec["affinity"]["nodeAffinity"];
  const Value& required = node_affinity["requiredDuringSchedulingIgnoredDuringExecution"];
  if (required.is_object()) {
    required_node_terms.emplace();
    for (const Value& t : required["nodeSelectorTerms"].items()) {
      required_node_terms->push_back(term_of(t));
    }
  }
  for (const Value& t : node_affinity["preferredDuringSchedulingIgnoredDuringExecution"].items()) {
    preferred_node_terms.push_back({t["weight"].as_int(), term_of(t["preference"])});
  }
  const Value& with = spec["affinity"]["podAffinity"];
  const Value& against = spec["affinity"]["podAntiAffinity"];
  affinity = affinity_terms(with["requiredDuringSchedulingIgnoredDuringExecution"], *this);
  anti_affinity = affinity_terms(against["requiredDuringSchedulingIgnoredDuringExecution"], *this);
  preferred_affinity =
      affinity_terms(with["preferredDuringSchedulingIgnoredDuringExecution"], *this);
  preferred_anti_affinity =
      affinity_terms(against["preferredDuringSchedulingIgnoredDuringExecution"], *this);
  for (const Value& c : spec["topologySpreadConstraints"].items()) {
    spread.push_back(spread_constraint(c, *this));
  }
}

bool PodInfo::matches_node_affinity(const Value& node_labels, const std::string& name) const {
  if (!node_selector.empty() && !node_selector.matches(node_labels)) return false;
  if (!required_node_terms) return true;
  return std::any_of(required_node_terms->begin(), required_node_terms->end(),
                     [&](const NodeSelectorTerm& term) { return term.matches(node_labels, name); });
}

bool PodInfo::tolerates(const Taint& taint) const {
  return std::any_of(tolerations.begin(), tolerations.end(),
                     [&](const Toleration& t) { return t.tolerates(taint); });
}

}  // namespace skiff::scheduler
