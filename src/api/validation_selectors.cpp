// Selectors of labels and nodes, affinity, tolerations, topology spreading.
#include <set>

#include "validation.hpp"

namespace skiff::api {
namespace {

void validate_pod_affinity_term(FieldErrors& errors, const Path& path, const Value& term) {
  for (const Value& ns : term["namespaces"].items())
    check_text(errors, child(path, "namespace"), ns, dns1123_label_errors);
  const Path key_path = child(path, "topologyKey");
  const Value& topology = term["topologyKey"];
  if (topology.as_string().empty()) return errors.required(key_path, "can not be empty");
  complain(errors, key_path, topology, label_key_errors(topology.as_string()));
}

void validate_weight(FieldErrors& errors, const Path& path, const Value& weighted) {
  std::int64_t weight = weighted["weight"].as_int();
  if (weight < 1 || weight > 100)
    errors.invalid(child(path, "weight"), weighted["weight"], "must be in the range 1-100");
}

void validate_pod_affinity(FieldErrors& errors, const Path& path, const Value& affinity) {
  const Path must = child(path, "requiredDuringSchedulingIgnoredDuringExecution");
  std::size_t index = 0;
  for (const Value& t : affinity["requiredDuringSchedulingIgnoredDuringExecution"].items())
    validate_pod_affinity_term(errors, at(must, index++), t);
  const Path may = child(path, "preferredDuringSchedulingIgnoredDuringExecution");
  index = 0;
  for (const Value& w : affinity["preferredDuringSchedulingIgnoredDuringExecution"].items()) {
    Path here = at(may, index++);
    validate_weight(errors, here, w);
    validate_pod_affinity_term(errors, child(here, "podAffinityTerm"), w["podAffinityTerm"]);
  }
}

void validate_node_requirement(FieldErrors& errors, const Path& path, const Value& r,
                               bool of_fields) {
  const std::string& op = r["operator"].as_string();
  const Path values = child(path, "values");
  if (op == "In" || op == "NotIn") {
    if (r["values"].empty())
      errors.required(values, "must be specified when `operator` is 'In' or 'NotIn'");
    else if (of_fields && r["values"].size() != 1)
      errors.required(values,
                      "must be only one value when `operator` is 'In' or 'NotIn' for node "
                      "field selector");
  } else if (!of_fields && (op == "Exists" || op == "DoesNotExist")) {
    if (!r["values"].empty())
      errors.forbidden(values,
                       "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else if (!of_fields && (op == "Gt" || op == "Lt")) {
    if (r["values"].size() != 1)
      errors.required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
  } else {
    errors.invalid(child(path, "operator"), r["operator"], "not a valid selector operator");
  }
  const Value& name = r["key"];
  if (!of_fields) {
    complain(errors, child(path, "key"), name, label_key_errors(name.as_string()));
  } else if (name.as_string() != "metadata.name") {
    errors.invalid(child(path, "key"), name, "not a valid field selector key");
  }
}

void validate_node_term(FieldErrors& errors, const Path& path, const Value& term) {
  std::size_t index = 0;
  for (const Value& r : term["matchExpressions"].items())
    validate_node_requirement(errors, at(child(path, "matchExpressions"), index++), r, false);
  index = 0;
  for (const Value& r : term["matchFields"].items())
    validate_node_requirement(errors, at(child(path, "matchFields"), index++), r, true);
}

void validate_toleration(FieldErrors& errors, const Path& path, const Value& t) {
  const std::string& op = t["operator"].as_string();
  if (!t["key"].as_string().empty())
    complain(errors, child(path, "key"), t["key"], label_key_errors(t["key"].as_string()));
  else if (op != "Exists")
    errors.invalid(child(path, "operator"), t["operator"],
                   "operator must be Exists when `key` is empty, which means \"match all values "
                   "and all keys\"");
  if (!t["tolerationSeconds"].is_null() && t["effect"].as_string() != "NoExecute")
    errors.invalid(child(path, "effect"), t["effect"],
                   "effect must be 'NoExecute' when `tolerationSeconds` is set");
  if (op.empty() || op == "Equal") {
    for (const std::string& c : label_value_errors(t["value"].as_string()))
      errors.invalid(child(path, "operator"), t["value"], c);
  } else if (op == "Exists" && !t["value"].as_string().empty()) {
    errors.invalid(child(path, "operator"), t, "value must be empty when `operator` is 'Exists'");
  }
}

}  // namespace

void validate_label_selector(FieldErrors& errors, const Path& path, const Value& selector) {
  validate_labels(errors, child(path, "matchLabels"), selector["matchLabels"]);
  std::size_t index = 0;
  for (const Value& r : selector["matchExpressions"].items()) {
    Path here = at(child(path, "matchExpressions"), index++);
    const std::string& op = r["operator"].as_string();
    if (op == "In" || op == "NotIn") {
      if (r["values"].empty())
        errors.required(child(here, "values"),
                        "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!r["values"].empty())
        errors.forbidden(child(here, "values"),
                         "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else {
      errors.invalid(child(here, "operator"), r["operator"], "not a valid selector operator");
    }
    complain(errors, child(here, "key"), r["key"], label_key_errors(r["key"].as_string()));
    std::size_t n = 0;
    for (const Value& v : r["values"].items())
      complain(errors, at(child(here, "values"), n++), v, label_value_errors(v.as_string()));
  }
}

void validate_node_selector(FieldErrors& errors, const Path& path, const Value& selector) {
  const Path terms = child(path, "nodeSelectorTerms");
  if (selector["nodeSelectorTerms"].empty())
    return errors.required(terms, "must have at least one node selector term");
  std::size_t index = 0;
  for (const Value& t : selector["nodeSelectorTerms"].items())
    validate_node_term(errors, at(terms, index++), t);
}

void validate_affinity(FieldErrors& errors, const Path& path, const Value& affinity) {
  const Value& node = affinity["nodeAffinity"];
  const Path node_path = child(path, "nodeAffinity");
  constexpr const char* kMust = "requiredDuringSchedulingIgnoredDuringExecution";
  constexpr const char* kMay = "preferredDuringSchedulingIgnoredDuringExecution";
  if (node[kMust].is_object()) validate_node_selector(errors, child(node_path, kMust), node[kMust]);
  std::size_t index = 0;
  for (const Value& term : node[kMay].items()) {
    Path here = at(child(node_path, kMay), index++);
    if (term["weight"].as_int() <= 0 || term["weight"].as_int() > 100)
      validate_weight(errors, here, term);
    validate_node_term(errors, child(here, "preference"), term["preference"]);
  }
  validate_pod_affinity(errors, child(path, "podAffinity"), affinity["podAffinity"]);
  validate_pod_affinity(errors, child(path, "podAntiAffinity"), affinity["podAntiAffinity"]);
}

void validate_tolerations(FieldErrors& errors, const Path& path, const Value& tolerations) {
  std::size_t index = 0;
  for (const Value& t : tolerations.items()) validate_toleration(errors, at(path, index++), t);
}

void validate_topology_spread(FieldErrors& errors, const Path& path, const Value& constraints) {
  std::set<std::string> seen;
  std::size_t index = 0;
  for (const Value& c : constraints.items()) {
    Path here = at(path, index++);
    if (c["maxSkew"].as_int() <= 0)
      errors.invalid(child(here, "maxSkew"), c["maxSkew"], std::string(kPositive));
    const Value& topology = c["topologyKey"];
    if (topology.as_string().empty())
      errors.required(child(here, "topologyKey"), "can not be empty");
    else
      complain(errors, child(here, "topologyKey"), topology,
               label_key_errors(topology.as_string()));
    const std::string& unsatisfiable = c["whenUnsatisfiable"].as_string();
    std::string pair = "{" + topology.as_string() + ", " + unsatisfiable + "}";
    if (!seen.insert(pair).second)
      errors.duplicate(child(here, "{topologyKey, whenUnsatisfiable}"), pair);
    const Value& domains = c["minDomains"];
    if (domains.is_null()) continue;
    if (domains.as_int() <= 0)
      errors.invalid(child(here, "minDomains"), domains, std::string(kPositive));
    if (unsatisfiable != "DoNotSchedule")
      errors.invalid(
          child(here, "minDomains"), domains,
          "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not " + unsatisfiable);
  }
}

}  // namespace skiff::api
