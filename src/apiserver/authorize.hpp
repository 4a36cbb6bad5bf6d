// Role-based access control ("Using RBAC Authorization"): rules compiled from Roles and bindings,
// kept up to date from the store's own changes, looked at when somebody asks.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "skiff/registry/registry.hpp"

namespace skiff::apiserver {

using registry::User;

struct Attributes {
  std::string verb;
  bool is_resource = true;
  std::string group;
  std::string resource;
  std::string subresource;
  std::string ns;
  std::string name;
  std::string path;
};

struct PolicyRule {
  std::vector<std::string> verbs;
  std::vector<std::string> groups;
  std::vector<std::string> resources;
  std::vector<std::string> names;
  std::vector<std::string> urls;

  static std::vector<PolicyRule> parse(const api::Value& rules);
  bool allows(const Attributes& a) const;
  // Whether every single thing `other` allows is allowed by one of `owned`.
  static bool covered(const PolicyRule& other, const std::vector<const PolicyRule*>& owned);
};

class Authorizer {
 public:
  explicit Authorizer(store::Store& store) : store_(store) {}

  bool allows(const User& user, const Attributes& a);
  // Every rule that counts for `user` in `ns` ("" for cluster scope only).
  std::vector<const PolicyRule*> rules_for(const User& user, const std::string& ns);
  // The rules of a role, or null.
  const std::vector<PolicyRule>* role(bool cluster, const std::string& ns, const std::string& name);
  // Nobody hands out what he does not have: `doc` is a Role, ClusterRole or binding about to be
  // written. forbidden if it would.
  Result<void> check_escalation(const User& user, const api::Resource& resource,
                                const std::string& ns, const api::Value& doc);

  // `pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"`
  static Error refusal(const User& user, const Attributes& a);

 private:
  struct Binding {
    std::string ns;  // "" for ClusterRoleBindings
    bool cluster_role = true;
    std::string role;
    std::vector<std::string> subjects;  // "User:x", "Group:y"
  };
  void refresh();
  void reload();
  void apply(const store::Item& item, bool erased);
  template <class F>
  void visit(const User& user, const std::string& ns, F&& each);

  store::Store& store_;
  std::unique_ptr<store::Watch> changes_;
  std::unordered_map<std::string, std::vector<PolicyRule>> roles_;  // by store key
  std::unordered_map<std::string, Binding> bindings_;               // by store key
  std::unordered_map<std::string, std::set<std::string>> by_subject_;
};

}  // namespace skiff::apiserver
