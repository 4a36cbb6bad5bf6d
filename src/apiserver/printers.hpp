// What `kubectl get` shows: the cells of a server-side Table, in the order of Resource::columns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"
#include "skiff/base/clock.hpp"

namespace skiff::apiserver {

using Cells = std::vector<api::Value>;
using Printer = Cells (*)(const api::Value& object, WallTime now);

// The columns of a kind; name and creation time for kinds that have none of their own.
std::span<const api::Column> columns_of(const api::Resource& resource);
// What fills them.
Printer printer_of(const api::Resource& resource);

namespace print {

using api::Value;

inline constexpr std::string_view kNone = "<none>";
inline constexpr std::string_view kUnset = "<unset>";
inline constexpr std::string_view kUnknown = "<unknown>";

const Value& name(const Value& object);
std::string age(const Value& object, WallTime now);
// "<none>" for nothing.
std::string or_none(std::string_view text);
std::string join(const std::vector<std::string>& parts, std::string_view separator = ",");
std::vector<std::string> strings(const Value& list);
// "a=b,c=d" in order of keys.
std::string labels(const Value& map);
// A metav1.LabelSelector as text.
std::string label_selector(const Value& selector);
// Names and images of a pod template's containers.
void append_containers(Cells& cells, const Value& pod_spec);
// The first three, then how many more.
std::string first_three(const std::vector<std::string>& all, std::string_view separator = ",");
// "ReadWriteOnce" is "RWO".
std::string access_modes(const Value& modes);
std::string boolean(const Value& v);  // "True", "False"

Cells plain(const Value& o, WallTime now);  // name and creation time
Cells pod(const Value& o, WallTime now);
Cells deployment(const Value& o, WallTime now);
Cells replica_set(const Value& o, WallTime now);
Cells replication_controller(const Value& o, WallTime now);
Cells daemon_set(const Value& o, WallTime now);
Cells stateful_set(const Value& o, WallTime now);
Cells job(const Value& o, WallTime now);
Cells cron_job(const Value& o, WallTime now);
Cells pod_template(const Value& o, WallTime now);
Cells controller_revision(const Value& o, WallTime now);
Cells autoscaler(const Value& o, WallTime now);
Cells disruption_budget(const Value& o, WallTime now);

Cells service(const Value& o, WallTime now);
Cells endpoints(const Value& o, WallTime now);
Cells endpoint_slice(const Value& o, WallTime now);
Cells ingress(const Value& o, WallTime now);
Cells ingress_class(const Value& o, WallTime now);
Cells network_policy(const Value& o, WallTime now);
Cells service_cidr(const Value& o, WallTime now);
Cells ip_address(const Value& o, WallTime now);

Cells node(const Value& o, WallTime now);
Cells event(const Value& o, WallTime now);
Cells namespace_(const Value& o, WallTime now);
Cells secret(const Value& o, WallTime now);
Cells config_map(const Value& o, WallTime now);
Cells named_age(const Value& o, WallTime now);
Cells resource_quota(const Value& o, WallTime now);
Cells component_status(const Value& o, WallTime now);
Cells lease(const Value& o, WallTime now);
Cells priority_class(const Value& o, WallTime now);
Cells runtime_class(const Value& o, WallTime now);
Cells role_binding(const Value& o, WallTime now);
Cells signing_request(const Value& o, WallTime now);
Cells webhooks(const Value& o, WallTime now);
Cells admission_policy(const Value& o, WallTime now);
Cells admission_policy_binding(const Value& o, WallTime now);
Cells flow_schema(const Value& o, WallTime now);
Cells priority_level(const Value& o, WallTime now);

Cells volume(const Value& o, WallTime now);
Cells claim(const Value& o, WallTime now);
Cells storage_class(const Value& o, WallTime now);
Cells volume_attachment(const Value& o, WallTime now);
Cells volume_attributes_class(const Value& o, WallTime now);
Cells csi_node(const Value& o, WallTime now);
Cells csi_driver(const Value& o, WallTime now);
Cells csi_capacity(const Value& o, WallTime now);
Cells resource_claim(const Value& o, WallTime now);
Cells resource_slice(const Value& o, WallTime now);

}  // namespace print
}  // namespace skiff::apiserver
