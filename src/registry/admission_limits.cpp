// LimitRanger: defaults for containers, then the minima, maxima and ratios of every LimitRange of
// the namespace.
#include "errors.hpp"
#include "skiff/api/quantity.hpp"
#include "strategy.hpp"

namespace skiff::registry::admission {
namespace {

using api::Quantity;
using Amounts = std::map<std::string, Quantity, std::less<>>;

constexpr std::string_view kNote = "kubernetes.io/limit-ranger";

std::optional<Quantity> parse(const Value& v) {
  const auto q = Quantity::parse(v.is_string() ? v.as_string() : api::to_json(v));
  if (!q) return std::nullopt;
  return *q;
}

Amounts amounts(const Value& list) {
  Amounts out;
  for (const api::Member& m : list.members()) {
    if (const auto q = parse(m.value)) out.emplace(m.name, *q);
  }
  return out;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& p : parts) {
    if (!out.empty()) out += separator;
    out += p;
  }
  return out;
}

// Adds what `defaults` has and `resources[kind]` lacks; names what was added.
std::vector<std::string> fill(Value& container, std::string_view kind, const Value& defaults) {
  std::vector<std::string> added;
  for (const api::Member& m : defaults.members()) {
    if (container["resources"][kind].has(m.name)) continue;
    container.member("resources").member(kind).set(m.name, m.value);
    added.push_back(m.name);
  }
  std::sort(added.begin(), added.end());
  return added;
}

void apply_defaults_of(Value& pod, const Value& limit) {
  std::vector<std::string> notes;
  Value& spec = pod.member("spec");
  for (const auto& [list, word] :
       {std::pair("containers", "container"), std::pair("initContainers", "init container")}) {
    Value* containers = spec.find(list);
    if (!containers) continue;
    for (Value& c : containers->mutable_items()) {
      const std::string& name = c["name"].as_string();
      const auto requests = fill(c, "requests", limit["defaultRequest"]);
      const auto limits = fill(c, "limits", limit["default"]);
      if (!requests.empty()) {
        notes.push_back(join(requests, ", ") + " request for " + word + " " + name);
      }
      if (!limits.empty()) notes.push_back(join(limits, ", ") + " limit for " + word + " " + name);
    }
  }
  if (notes.empty()) return;
  pod.member("metadata")
      .member("annotations")
      .set(kNote, "LimitRanger plugin set: " + join(notes, "; "));
}

// Checks one set of requests and limits against one item of a LimitRange.
class Checker {
 public:
  Checker(const Value& limit, std::vector<std::string>& refusals)
      : limit_(limit), type_(limit["type"].as_string()), refusals_(refusals) {}

  void check(const Amounts& requests, const Amounts& limits) {
    for (const auto& [name, bound] : amounts(limit_["min"])) minimum(name, bound, requests, limits);
    for (const auto& [name, bound] : amounts(limit_["max"])) maximum(name, bound, requests, limits);
    for (const auto& [name, bound] : amounts(limit_["maxLimitRequestRatio"])) {
      ratio(name, bound, requests, limits);
    }
  }

 private:
  static std::optional<Quantity> of(const Amounts& from, std::string_view name) {
    const auto at = from.find(name);
    if (at == from.end()) return std::nullopt;
    return at->second;
  }
  std::string rule(std::string_view word, const std::string& name, const Quantity& bound) const {
    return std::string(word) + " " + name + " usage per " + type_ + " is " + bound.to_string();
  }
  void minimum(const std::string& name, const Quantity& bound, const Amounts& requests,
               const Amounts& limits) {
    const auto request = of(requests, name);
    const auto limit = of(limits, name);
    const std::string text = rule("minimum", name, bound);
    if (!request) {
      refusals_.push_back(text + ".  No request is specified");
    } else if (*request < bound) {
      refusals_.push_back(text + ", but request is " + request->to_string());
    } else if (limit && *limit < bound) {
      refusals_.push_back(text + ", but limit is " + limit->to_string());
    }
  }
  void maximum(const std::string& name, const Quantity& bound, const Amounts& requests,
               const Amounts& limits) {
    const auto request = of(requests, name);
    const auto limit = of(limits, name);
    const std::string text = rule("maximum", name, bound);
    const bool needs_limit = type_ != "PersistentVolumeClaim";
    if (!limit && needs_limit) {
      refusals_.push_back(text + ".  No limit is specified");
    } else if (limit && *limit > bound) {
      refusals_.push_back(text + ", but limit is " + limit->to_string());
    } else if (request && *request > bound) {
      refusals_.push_back(text + ", but request is " + request->to_string());
    }
  }
  void ratio(const std::string& name, const Quantity& bound, const Amounts& requests,
             const Amounts& limits) {
    const auto request = of(requests, name);
    const auto limit = of(limits, name);
    const std::string text =
        name + " max limit to request ratio per " + type_ + " is " + bound.to_string();
    if (!request || request->zero()) {
      refusals_.push_back(text + ", but no request is specified or request is 0");
    } else if (!limit || limit->zero()) {
      refusals_.push_back(text + ", but no limit is specified or limit is 0");
    } else {
      const double have =
          static_cast<double>(limit->milli_value()) / static_cast<double>(request->milli_value());
      if (have * 1000.0 > static_cast<double>(bound.milli_value())) {
        refusals_.push_back(text + ", but provided ratio is " + std::to_string(have));
      }
    }
  }

  const Value& limit_;
  std::string type_;
  std::vector<std::string>& refusals_;
};

void add(Amounts& to, const Amounts& more) {
  for (const auto& [name, q] : more) {
    const auto [at, fresh] = to.emplace(name, q);
    if (!fresh) at->second = at->second + q;
  }
}

void raise(Amounts& to, const Amounts& other) {
  for (const auto& [name, q] : other) {
    const auto [at, fresh] = to.emplace(name, q);
    if (!fresh && at->second < q) at->second = q;
  }
}

// What the whole Pod takes: containers together, or the largest init container if that is more.
Amounts pod_total(const Value& pod, std::string_view kind) {
  Amounts total;
  for (const Value& c : pod["spec"]["containers"].items()) {
    add(total, amounts(c["resources"][kind]));
  }
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    raise(total, amounts(c["resources"][kind]));
  }
  return total;
}

void check_pod(const Value& pod, const Value& limit, std::vector<std::string>& refusals) {
  Checker checker(limit, refusals);
  const std::string& type = limit["type"].as_string();
  if (type == "Pod") checker.check(pod_total(pod, "requests"), pod_total(pod, "limits"));
  if (type != "Container") return;
  for (const std::string_view list : {"containers", "initContainers"}) {
    for (const Value& c : pod["spec"][list].items()) {
      checker.check(amounts(c["resources"]["requests"]), amounts(c["resources"]["limits"]));
    }
  }
}

}  // namespace

Result<void> limit_ranges(Call& call, Value& doc) {
  const std::vector<ItemPtr> ranges = call.core.all("", "limitranges", call.target.ns);
  if (ranges.empty()) return {};
  const bool pod = call.resource.plural == "pods";
  std::vector<std::string> refusals;
  std::vector<ObjectPtr> objects;
  for (const ItemPtr& item : ranges) objects.push_back(object_of(item));
  if (pod) {
    for (const ObjectPtr& range : objects) {
      for (const Value& limit : range->root()["spec"]["limits"].items()) {
        if (limit["type"].as_string() == "Container") apply_defaults_of(doc, limit);
      }
    }
  }
  for (const ObjectPtr& range : objects) {
    for (const Value& limit : range->root()["spec"]["limits"].items()) {
      if (pod) {
        check_pod(doc, limit, refusals);
      } else if (limit["type"].as_string() == "PersistentVolumeClaim") {
        const Value& resources = doc["spec"]["resources"];
        Checker(limit, refusals)
            .check(amounts(resources["requests"]), amounts(resources["limits"]));
      }
    }
  }
  if (refusals.empty()) return {};
  const std::string all = join(refusals, ", ");
  return errors::forbidden(call.resource, doc["metadata"]["name"].as_string(),
                           refusals.size() == 1 ? all : "[" + all + "]");
}

}  // namespace skiff::registry::admission
