// Small core kinds: ConfigMap, Secret, ServiceAccount, LimitRange, ResourceQuota.
#include "scalars.hpp"
#include "skiff/api/quantity.hpp"
#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kMaxData = 1U << 20U;  // bytes of all values of a ConfigMap or Secret

void check_frozen(const Subject& s, std::initializer_list<const char*> fields) {
  if (!s.before()["immutable"].as_bool()) return;
  constexpr const char* kSet = "field is immutable when `immutable` is set";
  if (!s.doc["immutable"].as_bool()) s.errors.forbidden("immutable", kSet);
  for (const char* f : fields) {
    const Value& now = s.doc[f];
    const Value& before = s.before()[f];
    if (now != before && !(now.empty() && before.empty())) s.errors.forbidden(f, kSet);
  }
}

void check_config_map(const Subject& s) {
  std::size_t size = 0;
  for (const Member& m : s.doc["data"].members()) {
    complain(s.errors, key("data", m.name), m.name, config_key_errors(m.name));
    if (s.doc["binaryData"].has(m.name))
      s.errors.invalid(key("data", m.name), m.name, "duplicate of key present in binaryData");
    size += m.value.as_string().size();
  }
  for (const Member& m : s.doc["binaryData"].members()) {
    complain(s.errors, key("binaryData", m.name), m.name, config_key_errors(m.name));
    size += check_base64(m.value.as_string()).size;
  }
  if (size > kMaxData) s.errors.too_long("[]", kMaxData);
  check_frozen(s, {"data", "binaryData"});
}

void require_key(const Subject& s, const char* name) {
  if (!s.doc["data"].has(name)) s.errors.required(key("data", name));
}

void check_secret_type(const Subject& s) {
  const std::string& type = s.doc["type"].as_string();
  const Value& data = s.doc["data"];
  if (type == "kubernetes.io/service-account-token") {
    constexpr const char* kName = "kubernetes.io/service-account.name";
    if (s.doc["metadata"]["annotations"][kName].as_string().empty())
      s.errors.required(key("metadata.annotations", kName));
  } else if (type == "kubernetes.io/dockercfg") {
    require_key(s, ".dockercfg");
  } else if (type == "kubernetes.io/dockerconfigjson") {
    require_key(s, ".dockerconfigjson");
  } else if (type == "kubernetes.io/basic-auth") {
    if (!data.has("username") && !data.has("password")) {
      s.errors.required("data[username]");
      s.errors.required("data[password]");
    }
  } else if (type == "kubernetes.io/ssh-auth") {
    if (data["ssh-privatekey"].as_string().empty()) s.errors.required("data[ssh-privatekey]");
  } else if (type == "kubernetes.io/tls") {
    require_key(s, "tls.crt");
    require_key(s, "tls.key");
  }
}

void check_secret(const Subject& s) {
  std::size_t size = 0;
  for (const Member& m : s.doc["data"].members()) {
    complain(s.errors, key("data", m.name), m.name, config_key_errors(m.name));
    size += check_base64(m.value.as_string()).size;
  }
  if (size > kMaxData) s.errors.too_long("data", kMaxData);
  check_secret_type(s);
  check_frozen(s, {"data"});
}

// --- limits and quotas ---

void check_limit_item(FieldErrors& errors, const Path& here, const Value& item) {
  const std::string& type = item["type"].as_string();
  if (type == "Pod") {
    for (const char* field : {"default", "defaultRequest"})
      if (!item[field].empty())
        errors.forbidden(child(here, field), "may not be specified when `type` is 'Pod'");
  }
  // min <= defaultRequest <= default <= max, where given.
  struct Pair {
    const char* low;
    const char* high;
  };
  static constexpr Pair kOrder[] = {{"min", "max"},
                                    {"min", "defaultRequest"},
                                    {"min", "default"},
                                    {"defaultRequest", "default"},
                                    {"defaultRequest", "max"},
                                    {"default", "max"}};
  for (const Pair& p : kOrder) {
    for (const Member& m : item[p.low].members()) {
      const Value* high = item[p.high].find(m.name);
      if (!high) continue;
      auto a = Quantity::parse(m.value.as_string());
      auto b = Quantity::parse(high->as_string());
      if (!a || !b || *a <= *b) continue;
      std::string what = p.low == std::string_view("defaultRequest") ? "default request" : p.low;
      errors.invalid(key(child(here, p.low), m.name), m.value,
                     what + " value " + m.value.as_string() + " is greater than " + p.high +
                         " value " + high->as_string());
    }
  }
  for (const Member& m : item["maxLimitRequestRatio"].members()) {
    auto ratio = Quantity::parse(m.value.as_string());
    if (ratio && *ratio < Quantity::of(1))
      errors.invalid(key(child(here, "maxLimitRequestRatio"), m.name), m.value,
                     "ratio " + m.value.as_string() + " is less than 1");
  }
}

void check_limit_range(const Subject& s) {
  std::vector<std::string> seen;
  std::size_t index = 0;
  for (const Value& item : s.doc["spec"]["limits"].items()) {
    Path here = at("spec.limits", index++);
    const std::string& type = item["type"].as_string();
    for (const std::string& t : seen)
      if (t == type) s.errors.duplicate(child(here, "type"), item["type"]);
    seen.push_back(type);
    check_limit_item(s.errors, here, item);
  }
}

void check_quota(const Subject& s) {
  for (const Member& m : s.doc["spec"]["hard"].members()) {
    Path here = key("spec.hard", m.name);
    complain(s.errors, here, m.name, label_key_errors(m.name));
    validate_quantity_not_negative(s.errors, here, m.value);
  }
  if (!s.old) return;
  if (s.doc["spec"]["scopes"] != s.before()["spec"]["scopes"])
    s.errors.invalid("spec.scopes", s.doc["spec"]["scopes"], std::string(kImmutable));
}

constexpr KindRule kRules[] = {
    {"io.k8s.api.core.v1.ConfigMap", check_config_map},
    {"io.k8s.api.core.v1.Secret", check_secret},
    {"io.k8s.api.core.v1.LimitRange", check_limit_range},
    {"io.k8s.api.core.v1.ResourceQuota", check_quota},
};

}  // namespace

std::span<const KindRule> config_rules() { return kRules; }

}  // namespace skiff::api
