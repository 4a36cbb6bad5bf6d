#include "authorize.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

constexpr std::string_view kPrefix = "/rbac.authorization.k8s.io/";
constexpr std::string_view kMasters = "system:masters";

std::vector<std::string> strings(const Value& list) {
  std::vector<std::string> out;
  for (const Value& v : list.items()) out.push_back(v.as_string());
  return out;
}

bool has(const std::vector<std::string>& list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

bool has_or_all(const std::vector<std::string>& list, std::string_view what) {
  return has(list, what) || has(list, "*");
}

bool resource_matches(const std::vector<std::string>& list, std::string_view resource,
                      std::string_view subresource) {
  for (const std::string& r : list) {
    if (r == "*") return true;
    const auto slash = r.find('/');
    const std::string_view main = std::string_view(r).substr(0, slash);
    const std::string_view sub =
        slash == std::string::npos ? std::string_view() : std::string_view(r).substr(slash + 1);
    if (main == resource && sub == subresource) return true;
    if (main == "*" && !subresource.empty() && sub == subresource) return true;  // "*/scale"
  }
  return false;
}

bool url_matches(const std::vector<std::string>& list, std::string_view path) {
  for (const std::string& u : list) {
    if (u == "*" || u == path) return true;
    if (u.ends_with('*') && path.starts_with(std::string_view(u).substr(0, u.size() - 1))) {
      return true;
    }
  }
  return false;
}

std::string subject_key(const Value& subject, const std::string& ns) {
  const std::string& kind = subject["kind"].as_string();
  const std::string& name = subject["name"].as_string();
  if (kind == "ServiceAccount") {
    const std::string& own = subject["namespace"].as_string();
    return "User:system:serviceaccount:" + (own.empty() ? ns : own) + ":" + name;
  }
  return kind + ":" + name;
}

std::string role_key(bool cluster, const std::string& ns, const std::string& name) {
  std::string key(kPrefix);
  return cluster ? key + "clusterroles/" + name : key + "roles/" + ns + "/" + name;
}

bool is_master(const User& user) { return has(user.groups, kMasters); }

}  // namespace

std::vector<PolicyRule> PolicyRule::parse(const Value& rules) {
  std::vector<PolicyRule> out;
  for (const Value& r : rules.items()) {
    out.push_back({strings(r["verbs"]), strings(r["apiGroups"]), strings(r["resources"]),
                   strings(r["resourceNames"]), strings(r["nonResourceURLs"])});
  }
  return out;
}

bool PolicyRule::allows(const Attributes& a) const {
  if (!has_or_all(verbs, a.verb)) return false;
  if (!a.is_resource) return url_matches(urls, a.path);
  return has_or_all(groups, a.group) && resource_matches(resources, a.resource, a.subresource) &&
         (names.empty() || has(names, a.name));
}

bool PolicyRule::covered(const PolicyRule& other, const std::vector<const PolicyRule*>& owned) {
  const auto allowed = [&](const Attributes& a) {
    return std::any_of(owned.begin(), owned.end(),
                       [&](const PolicyRule* mine) { return mine->allows(a); });
  };
  for (const std::string& verb : other.verbs) {
    for (const std::string& url : other.urls) {
      if (!allowed({.verb = verb, .is_resource = false, .path = url})) return false;
    }
    for (const std::string& group : other.groups) {
      for (const std::string& resource : other.resources) {
        const auto slash = resource.find('/');
        Attributes a{.verb = verb, .group = group, .resource = resource.substr(0, slash)};
        if (slash != std::string::npos) a.subresource = resource.substr(slash + 1);
        std::vector<std::string> names = other.names;
        if (names.empty()) names.emplace_back();
        for (std::string& name : names) {
          a.name = std::move(name);
          if (!allowed(a)) return false;
        }
      }
    }
  }
  return true;
}

void Authorizer::apply(const store::Item& item, bool erased) {
  const std::string_view rest = std::string_view(item.key).substr(kPrefix.size());
  const std::string_view plural = rest.substr(0, rest.find('/'));
  const bool binding = plural == "rolebindings" || plural == "clusterrolebindings";
  if (binding) {
    if (const auto old = bindings_.find(item.key); old != bindings_.end()) {
      for (const std::string& s : old->second.subjects) by_subject_[s].erase(item.key);
      bindings_.erase(old);
    }
  } else {
    roles_.erase(item.key);
  }
  if (erased) return;
  const auto parsed = api::parse_json(item.value);
  if (!parsed) return;
  const Value& doc = *parsed;
  if (!binding) {
    roles_.emplace(item.key, PolicyRule::parse(doc["rules"]));
    return;
  }
  Binding b;
  b.ns = doc["metadata"]["namespace"].as_string();
  b.cluster_role = doc["roleRef"]["kind"].as_string() == "ClusterRole";
  b.role = doc["roleRef"]["name"].as_string();
  for (const Value& s : doc["subjects"].items()) b.subjects.push_back(subject_key(s, b.ns));
  for (const std::string& s : b.subjects) by_subject_[s].insert(item.key);
  bindings_.emplace(item.key, std::move(b));
}

void Authorizer::reload() {
  roles_.clear();
  bindings_.clear();
  by_subject_.clear();
  const auto page = store_.range(store::Range::prefix(kPrefix));
  if (!page) return;
  for (const store::ItemPtr& item : page->items) apply(*item, false);
  store::WatchOptions options;
  options.range = store::Range::prefix(kPrefix);
  options.after = page->revision;
  auto changes = store_.watch(std::move(options));
  changes_ = changes ? std::move(*changes) : nullptr;
}

void Authorizer::refresh() {
  if (!changes_) return reload();
  const auto events = changes_->poll();
  if (!events) return reload();  // too many at once
  for (const store::Event& e : *events) apply(*e.item, e.type == store::Event::Type::erase);
}

template <class F>
void Authorizer::visit(const User& user, const std::string& ns, F&& each) {
  refresh();
  const auto visit_subject = [&](const std::string& subject) {
    const auto at = by_subject_.find(subject);
    if (at == by_subject_.end()) return true;
    for (const std::string& key : at->second) {
      const Binding& b = bindings_.at(key);
      if (!b.ns.empty() && b.ns != ns) continue;
      const auto found = roles_.find(role_key(b.cluster_role, b.ns, b.role));
      if (found == roles_.end()) continue;
      for (const PolicyRule& rule : found->second) {
        if (!b.ns.empty() && !rule.urls.empty()) continue;  // URLs have no namespace
        if (!each(rule)) return false;
      }
    }
    return true;
  };
  if (!visit_subject("User:" + user.name)) return;
  for (const std::string& g : user.groups) {
    if (!visit_subject("Group:" + g)) return;
  }
}

bool Authorizer::allows(const User& user, const Attributes& a) {
  if (is_master(user)) return true;
  bool allowed = false;
  visit(user, a.ns, [&](const PolicyRule& rule) {
    allowed = rule.allows(a);
    return !allowed;
  });
  return allowed;
}

std::vector<const PolicyRule*> Authorizer::rules_for(const User& user, const std::string& ns) {
  std::vector<const PolicyRule*> out;
  static const PolicyRule everything{{"*"}, {"*"}, {"*"}, {}, {}};
  static const PolicyRule every_url{{"*"}, {}, {}, {}, {"*"}};
  if (is_master(user)) out = {&everything, &every_url};
  visit(user, ns, [&](const PolicyRule& rule) {
    out.push_back(&rule);
    return true;
  });
  return out;
}

const std::vector<PolicyRule>* Authorizer::role(bool cluster, const std::string& ns,
                                                const std::string& name) {
  refresh();
  const auto at = roles_.find(role_key(cluster, ns, name));
  return at == roles_.end() ? nullptr : &at->second;
}

Result<void> Authorizer::check_escalation(const User& user, const api::Resource& resource,
                                          const std::string& ns, const Value& doc) {
  if (is_master(user)) return {};
  const bool binding = resource.plural.ends_with("bindings");
  const std::string& name = doc["metadata"]["name"].as_string();
  Attributes a{.verb = binding ? "bind" : "escalate",
               .group = std::string(resource.group),
               .resource = std::string(resource.plural),
               .ns = ns,
               .name = name};
  std::vector<PolicyRule> granted;
  if (binding) {
    const bool cluster = doc["roleRef"]["kind"].as_string() == "ClusterRole";
    a.resource = cluster ? "clusterroles" : "roles";
    a.name = doc["roleRef"]["name"].as_string();
    if (allows(user, a)) return {};
    const std::vector<PolicyRule>* rules = role(cluster, ns, a.name);
    if (rules) granted = *rules;
    if (!rules) return refusal(user, a);
  } else {
    if (allows(user, a)) return {};
    granted = PolicyRule::parse(doc["rules"]);
  }
  const auto owned = rules_for(user, ns);
  for (const PolicyRule& rule : granted) {
    if (PolicyRule::covered(rule, owned)) continue;
    std::string message = std::string(resource.plural) + "." + std::string(resource.group) + " \"" +
                          name + "\" is forbidden: user \"" + user.name +
                          "\" is attempting to grant RBAC permissions not currently held";
    return Error{Code::forbidden, std::move(message)};
  }
  return {};
}

Error Authorizer::refusal(const User& user, const Attributes& a) {
  if (!a.is_resource) {
    return {Code::forbidden,
            "forbidden: User \"" + user.name + "\" cannot " + a.verb + " path \"" + a.path + "\""};
  }
  std::string qualified = a.resource;
  if (!a.group.empty()) qualified += "." + a.group;
  const std::string resource =
      a.subresource.empty() ? a.resource : a.resource + "/" + a.subresource;
  std::string message = qualified;
  if (!a.name.empty()) message += " \"" + a.name + "\"";
  message += " is forbidden: User \"" + user.name + "\" cannot " + a.verb + " resource \"" +
             resource + "\" in API group \"" + a.group + "\"";
  message += a.ns.empty() ? " at the cluster scope" : " in the namespace \"" + a.ns + "\"";
  auto details = std::make_shared<ErrorDetails>();
  details->name = a.name;
  details->group = a.group;
  details->kind = a.resource;
  return {Code::forbidden, std::move(message), std::move(details)};
}

}  // namespace skiff::apiserver
