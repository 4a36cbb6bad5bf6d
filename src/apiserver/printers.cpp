#include "printers.hpp"

#include "duration.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::apiserver {
namespace {

struct Row {
  std::string_view kind;
  Printer printer;
};

constexpr Row kPrinters[] = {
    {"Pod", print::pod},
    {"PodTemplate", print::pod_template},
    {"PodDisruptionBudget", print::disruption_budget},
    {"ReplicationController", print::replication_controller},
    {"ReplicaSet", print::replica_set},
    {"DaemonSet", print::daemon_set},
    {"Job", print::job},
    {"CronJob", print::cron_job},
    {"Service", print::service},
    {"Ingress", print::ingress},
    {"IngressClass", print::ingress_class},
    {"StatefulSet", print::stateful_set},
    {"Endpoints", print::endpoints},
    {"Node", print::node},
    {"Event", print::event},
    {"Namespace", print::namespace_},
    {"Secret", print::secret},
    {"ServiceAccount", print::named_age},
    {"PersistentVolume", print::volume},
    {"PersistentVolumeClaim", print::claim},
    {"ComponentStatus", print::component_status},
    {"Deployment", print::deployment},
    {"HorizontalPodAutoscaler", print::autoscaler},
    {"ConfigMap", print::config_map},
    {"NetworkPolicy", print::network_policy},
    {"RoleBinding", print::role_binding},
    {"ClusterRoleBinding", print::role_binding},
    {"CertificateSigningRequest", print::signing_request},
    {"Lease", print::lease},
    {"StorageClass", print::storage_class},
    {"VolumeAttributesClass", print::volume_attributes_class},
    {"ControllerRevision", print::controller_revision},
    {"ResourceQuota", print::resource_quota},
    {"PriorityClass", print::priority_class},
    {"RuntimeClass", print::runtime_class},
    {"VolumeAttachment", print::volume_attachment},
    {"EndpointSlice", print::endpoint_slice},
    {"CSINode", print::csi_node},
    {"CSIDriver", print::csi_driver},
    {"CSIStorageCapacity", print::csi_capacity},
    {"MutatingWebhookConfiguration", print::webhooks},
    {"ValidatingWebhookConfiguration", print::webhooks},
    {"ValidatingAdmissionPolicy", print::admission_policy},
    {"ValidatingAdmissionPolicyBinding", print::admission_policy_binding},
    {"FlowSchema", print::flow_schema},
    {"PriorityLevelConfiguration", print::priority_level},
    {"DeviceClass", print::named_age},
    {"ResourceClaim", print::resource_claim},
    {"ResourceClaimTemplate", print::named_age},
    {"ResourceSlice", print::resource_slice},
    {"ServiceCIDR", print::service_cidr},
    {"IPAddress", print::ip_address},
};

}  // namespace

std::span<const api::Column> columns_of(const api::Resource& resource) {
  static const api::Column plain[] = {
      {"Name", "string", "name", "Name must be unique within a namespace.", 0},
      {"Created At", "date", "", "When the object was created.", 0},
  };
  static const api::Column hooks[] = {
      {"Name", "string", "name", "Name must be unique within a namespace.", 0},
      {"Webhooks", "integer", "", "How many webhooks are configured.", 0},
      {"Age", "string", "", "How long ago the object was created.", 0},
  };
  if (!resource.columns.empty()) return resource.columns;
  if (resource.kind.ends_with("WebhookConfiguration")) return hooks;
  return plain;
}

Printer printer_of(const api::Resource& resource) {
  for (const Row& row : kPrinters) {
    if (row.kind == resource.kind) return row.printer;
  }
  return print::plain;
}

namespace print {

const Value& name(const Value& object) { return object["metadata"]["name"]; }

Cells plain(const Value& o, WallTime) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["metadata"]["creationTimestamp"]);
  return cells;
}

std::string age(const Value& object, WallTime now) {
  return since(object["metadata"]["creationTimestamp"], now);
}

std::string or_none(std::string_view text) { return std::string(text.empty() ? kNone : text); }

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::vector<std::string> strings(const Value& list) {
  std::vector<std::string> out;
  for (const Value& v : list.items()) out.push_back(v.as_string());
  return out;
}

std::string labels(const Value& map) {
  std::vector<std::string> parts;
  for (const api::Member& m : map.members()) {
    parts.push_back(std::string(m.name) + "=" + m.value.as_string());
  }
  std::sort(parts.begin(), parts.end());
  return or_none(join(parts));
}

std::string label_selector(const Value& selector) {
  const auto parsed = api::LabelSelector::from(selector);
  if (!parsed) return "<error>";
  return or_none(parsed->to_string());
}

void append_containers(Cells& cells, const Value& pod_spec) {
  std::vector<std::string> names;
  std::vector<std::string> images;
  for (const Value& c : pod_spec["containers"].items()) {
    names.push_back(c["name"].as_string());
    images.push_back(c["image"].as_string());
  }
  cells.emplace_back(join(names));
  cells.emplace_back(join(images));
}

std::string first_three(const std::vector<std::string>& all, std::string_view separator) {
  const std::vector<std::string> shown(
      all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, all.size())));
  std::string out = join(shown, separator);
  if (all.size() > 3) out += " + " + std::to_string(all.size() - 3) + " more...";
  return out;
}

std::string access_modes(const Value& modes) {
  static constexpr std::pair<std::string_view, std::string_view> kShort[] = {
      {"ReadWriteOnce", "RWO"},
      {"ReadOnlyMany", "ROX"},
      {"ReadWriteMany", "RWX"},
      {"ReadWriteOncePod", "RWOP"}};
  std::vector<std::string> parts;
  for (const auto& [mode, abbreviation] : kShort) {
    for (const Value& m : modes.items()) {
      if (m.as_string() != mode) continue;
      parts.emplace_back(abbreviation);
      break;
    }
  }
  return join(parts);
}

std::string boolean(const Value& v) {
  if (!v.is_bool()) return std::string(kUnset);
  return v.as_bool() ? "True" : "False";
}

}  // namespace print
}  // namespace skiff::apiserver
