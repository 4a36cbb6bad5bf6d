// Kinds with a little of their own.
#include "errors.hpp"
#include "keys.hpp"
#include "skiff/registry/scan.hpp"
#include "strategy.hpp"

namespace skiff::registry::kinds {
namespace {

constexpr std::string_view kNamespaceFinalizer = "kubernetes";
constexpr std::string_view kNamespaceLabel = "kubernetes.io/metadata.name";
constexpr std::string_view kDefaultClass = "storageclass.kubernetes.io/is-default-class";

std::string base64(std::string_view in) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((in.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < in.size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t n = std::min<std::size_t>(3, in.size() - i);
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8U | (j < n ? static_cast<std::uint8_t>(in[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += j <= n ? kAlphabet[group >> (18U - 6U * j) & 63U] : '=';
    }
  }
  return out;
}

void merge_string_data(Value& doc) {
  const Value* plain = doc.find("stringData");
  if (!plain) return;
  const Value copy = *plain;
  doc.erase("stringData");
  for (const api::Member& m : copy.members()) {
    doc.member("data").set(m.name, base64(m.value.as_string()));
  }
}

// podCIDR and podCIDRs[0] say the same; where they differ, the older field is believed.
void settle_pod_ranges(Value& doc) {
  if (!doc["spec"].has("podCIDR") && !doc["spec"].has("podCIDRs")) return;
  constexpr std::size_t kFirst = 0;
  Value& spec = doc.member("spec");
  const std::string one = spec["podCIDR"].as_string();
  const std::string first = spec["podCIDRs"][kFirst].as_string();
  if (!one.empty() && one != first) spec.set("podCIDRs", Value::array({Value(one)}));
  if (one.empty() && !first.empty()) spec.set("podCIDR", first);
}

}  // namespace

Result<void> namespace_create(Call&, Value& doc) {
  Value& finalizers = doc.member("spec").member("finalizers");
  const auto have = finalizers.items();
  if (std::find(have.begin(), have.end(), Value(kNamespaceFinalizer)) == have.end()) {
    finalizers.push_back(kNamespaceFinalizer);
  }
  doc.member("metadata").member("labels").set(kNamespaceLabel, doc["metadata"]["name"]);
  return {};
}

Result<void> namespace_update(Call&, Value& doc, const Value& old) {
  // Only the finalize subresource takes finalizers away.
  const Value& finalizers = old["spec"]["finalizers"];
  if (finalizers.is_null()) {
    doc.member("spec").erase("finalizers");
  } else {
    doc.member("spec").set("finalizers", finalizers);
  }
  doc.member("metadata").member("labels").set(kNamespaceLabel, doc["metadata"]["name"]);
  return {};
}

Result<void> namespace_remove(Call& call, const Value& doc) {
  const std::string& name = doc["metadata"]["name"].as_string();
  for (const std::string_view kept : {"default", "kube-system", "kube-public"}) {
    if (name == kept) {
      return errors::forbidden(call.resource, name, "this namespace may not be deleted");
    }
  }
  return {};
}

Result<void> node_create(Call&, Value& doc) {
  settle_pod_ranges(doc);
  return {};
}

Result<void> node_update(Call&, Value& doc, const Value&) {
  settle_pod_ranges(doc);
  return {};
}

Result<void> secret_create(Call&, Value& doc) {
  merge_string_data(doc);
  return {};
}

Result<void> secret_update(Call&, Value& doc, const Value& old) {
  merge_string_data(doc);
  if (doc["type"].as_string().empty()) doc.set("type", old["type"]);
  return {};
}

Result<void> csr_create(Call& call, Value& doc) {
  // Who asked is not the asker's to say.
  const User user = call.context.user ? *call.context.user : User();
  Value& spec = doc.member("spec");
  spec.set("username", user.name);
  spec.erase("uid");
  if (!user.uid.empty()) spec.set("uid", user.uid);
  Value groups = Value::array();
  for (const std::string& g : user.groups) groups.push_back(g);
  spec.set("groups", std::move(groups));
  spec.erase("extra");
  for (const auto& [key, values] : user.extra) {
    Value list = Value::array();
    for (const std::string& v : values) list.push_back(v);
    spec.member("extra").set(key, std::move(list));
  }
  return {};
}

Result<void> csr_update(Call&, Value& doc, const Value& old) {
  doc.set("spec", old["spec"]);
  return {};
}

void csr_status(Call& call, Value& doc, const Value& old) {
  const bool approval = call.target.subresource == "approval";
  Value& status = doc.member("status");
  // Approvers decide, signers sign.
  if (approval) {
    status.erase("certificate");
    if (old["status"].has("certificate")) status.set("certificate", old["status"]["certificate"]);
  }
  const std::string now = call.core.now();
  if (Value* conditions = status.find("conditions")) {
    for (Value& c : conditions->mutable_items()) {
      if (c["lastUpdateTime"].is_null()) c.set("lastUpdateTime", now);
      if (c["lastTransitionTime"].is_null()) c.set("lastTransitionTime", now);
    }
  }
}

Result<void> job_create(Call&, Value& doc) {
  Value& spec = doc.member("spec");
  if (spec["manualSelector"].as_bool()) return {};
  const std::string uid = doc["metadata"]["uid"].as_string();
  const std::string name = doc["metadata"]["name"].as_string();
  Value& labels = spec.member("template").member("metadata").member("labels");
  for (const std::string_view prefix : {"", "batch.kubernetes.io/"}) {
    labels.set(std::string(prefix) + "controller-uid", uid);
    labels.set(std::string(prefix) + "job-name", name);
  }
  if (spec["selector"].is_null()) spec.set("selector", Value::object());
  spec.member("selector").member("matchLabels").set("batch.kubernetes.io/controller-uid", uid);
  return {};
}

void deployment_status(Call&, Value& doc, const Value& old) {
  Value& metadata = doc.member("metadata");
  const Value& labels = old["metadata"]["labels"];
  if (labels.is_null()) {
    metadata.erase("labels");
  } else {
    metadata.set("labels", labels);
  }
}

Result<void> priority_class_admit(Call& call, Value& doc, const Value*) {
  if (!doc["globalDefault"].as_bool()) return {};
  const std::string& name = doc["metadata"]["name"].as_string();
  for (const ItemPtr& item : call.core.all("scheduling.k8s.io", "priorityclasses", "")) {
    const std::string_view other = keys::name_of(item->key);
    if (other == name || scan::find(item->value, {"globalDefault"}) != "true") continue;
    return errors::forbidden(call.resource, name,
                             "PriorityClass " + std::string(other) +
                                 " is already marked as default. Only one default can exist");
  }
  return {};
}

Result<void> claim_admit(Call& call, Value& doc, const Value* old) {
  if (!old) {
    const bool named =
        !doc["spec"]["storageClassName"].is_null() ||
        doc["metadata"]["annotations"].has("volume.beta.kubernetes.io/storage-class");
    if (!named) {
      for (const ItemPtr& item : call.core.all("storage.k8s.io", "storageclasses", "")) {
        const auto mark = scan::find(item->value, {"metadata", "annotations", kDefaultClass});
        if (!scan::equals(mark, "true")) continue;
        doc.member("spec").set("storageClassName", keys::name_of(item->key));
        break;
      }
    }
  }
  return admission::limit_ranges(call, doc);
}

}  // namespace skiff::registry::kinds
