#include "printers.hpp"

namespace skiff::apiserver::print {
namespace {

constexpr std::string_view kDefaultClass = "storageclass.kubernetes.io/is-default-class";

std::string phase(const Value& o) {
  if (!o["metadata"]["deletionTimestamp"].is_null()) return "Terminating";
  return o["status"]["phase"].as_string();
}

std::string or_unset(const Value& v) { return v.is_null() ? std::string(kUnset) : v.as_string(); }

std::string storage_class_of(const Value& o) {
  const Value& old = o["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
  return old.is_null() ? o["spec"]["storageClassName"].as_string() : old.as_string();
}

}  // namespace

Cells volume(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  std::string claim;
  if (const Value& ref = spec["claimRef"]; !ref.is_null()) {
    claim = ref["namespace"].as_string() + "/" + ref["name"].as_string();
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(spec["capacity"]["storage"].as_string());
  cells.emplace_back(access_modes(spec["accessModes"]));
  cells.emplace_back(spec["persistentVolumeReclaimPolicy"].as_string());
  cells.emplace_back(phase(o));
  cells.emplace_back(std::move(claim));
  cells.emplace_back(storage_class_of(o));
  cells.emplace_back(or_unset(spec["volumeAttributesClassName"]));
  cells.emplace_back(o["status"]["reason"].as_string());
  cells.emplace_back(age(o, now));
  cells.emplace_back(or_unset(spec["volumeMode"]));
  return cells;
}

Cells claim(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  const bool bound = !spec["volumeName"].as_string().empty();
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(phase(o));
  cells.emplace_back(spec["volumeName"].as_string());
  cells.emplace_back(bound ? o["status"]["capacity"]["storage"].as_string() : std::string());
  cells.emplace_back(bound ? access_modes(o["status"]["accessModes"]) : std::string());
  cells.emplace_back(storage_class_of(o));
  cells.emplace_back(or_unset(spec["volumeAttributesClassName"]));
  cells.emplace_back(age(o, now));
  cells.emplace_back(or_unset(spec["volumeMode"]));
  return cells;
}

Cells storage_class(const Value& o, WallTime now) {
  std::string shown = name(o).as_string();
  if (o["metadata"]["annotations"][kDefaultClass].as_string() == "true") shown += " (default)";
  Cells cells;
  cells.emplace_back(std::move(shown));
  cells.emplace_back(o["provisioner"].as_string());
  cells.emplace_back(o["reclaimPolicy"].as_string_or("Delete"));
  cells.emplace_back(o["volumeBindingMode"].as_string_or("Immediate"));
  cells.emplace_back(o["allowVolumeExpansion"].as_bool());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells volume_attachment(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["attacher"].as_string());
  cells.emplace_back(o["spec"]["source"]["persistentVolumeName"].as_string());
  cells.emplace_back(o["spec"]["nodeName"].as_string());
  cells.emplace_back(o["status"]["attached"].as_bool());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells volume_attributes_class(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["driverName"].as_string());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells csi_node(const Value& o, WallTime now) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["spec"]["drivers"].size());
  cells.emplace_back(age(o, now));
  return cells;
}

Cells csi_driver(const Value& o, WallTime) {
  const Value& spec = o["spec"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(spec["attachRequired"].as_bool(true));
  cells.emplace_back(spec["podInfoOnMount"].as_bool());
  cells.emplace_back(spec["storageCapacity"].as_bool());
  return cells;
}

Cells csi_capacity(const Value& o, WallTime) {
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(o["storageClassName"].as_string());
  cells.emplace_back(o["capacity"].as_string_or(kUnset));
  return cells;
}

Cells resource_claim(const Value& o, WallTime now) {
  std::vector<std::string> states;
  if (!o["metadata"]["deletionTimestamp"].is_null()) states.emplace_back("deleted");
  if (o["status"]["allocation"].is_null()) {
    if (states.empty()) states.emplace_back("pending");
  } else {
    states.emplace_back("allocated");
    if (!o["status"]["reservedFor"].empty()) states.emplace_back("reserved");
  }
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(join(states));
  cells.emplace_back(age(o, now));
  return cells;
}

Cells resource_slice(const Value& o, WallTime now) {
  const Value& spec = o["spec"];
  Cells cells;
  cells.emplace_back(name(o));
  cells.emplace_back(spec["nodeName"].as_string_or(kUnset));
  cells.emplace_back(spec["driver"].as_string());
  cells.emplace_back(spec["pool"]["name"].as_string());
  cells.emplace_back(age(o, now));
  return cells;
}

}  // namespace skiff::apiserver::print
