// The pure part of the endpoint controllers: endpoints of a Service from its pods, and the fewest
// changes to EndpointSlices that make them say so (KEP-752).
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "objects.hpp"

namespace skiff::controllers {

inline constexpr const char* kServiceName = "kubernetes.io/service-name";
inline constexpr const char* kManagedBy = "endpointslice.kubernetes.io/managed-by";
inline constexpr const char* kHeadless = "service.kubernetes.io/headless";
inline constexpr const char* kZone = "topology.kubernetes.io/zone";
inline constexpr std::size_t kMaxPerSlice = 100;

// Endpoints that share a slice: one address family, one list of ports.
struct EndpointGroup {
  std::string address_type;  // IPv4, IPv6
  Value ports;               // array of EndpointPort
  std::vector<Value> endpoints;
};

bool headless(const Value& service);
// "IPv4" or "IPv6" for an address.
std::string family_of(std::string_view ip);
// The pod's address of a family; "" when it has none.
std::string pod_ip(const Value& pod, std::string_view family);

// The numeric ports a service's ports lead to on this pod; those that it has no port for are left
// out.
Value resolve_ports(const Value& service, const Value& pod);
// Whether the pod's address is worth publishing. `terminating_too`: also while it is being deleted.
bool belongs_in_endpoints(const Value& pod, bool terminating_too);

using ZoneOf = std::function<std::string(const std::string& node)>;
// Slices a Service with a selector should have, from the pods it selects.
std::vector<EndpointGroup> service_groups(const Value& service, std::span<const ObjectPtr> pods,
                                          const ZoneOf& zone_of);
// Slices that mirror a custom Endpoints object.
std::vector<EndpointGroup> mirrored_groups(const Value& endpoints);

struct SliceChanges {
  std::vector<Value> create;
  std::vector<Value> update;  // whole objects
  std::vector<ObjectPtr> remove;
  bool empty() const { return create.empty() && update.empty() && remove.empty(); }
};

// `frame`: a slice without endpoints: its generateName, namespace, labels, annotations, owner.
// `placeholders`: address families that get an empty slice when they would have none.
SliceChanges plan_slices(std::vector<EndpointGroup> wanted, std::span<const ObjectPtr> existing,
                         const Value& frame, std::span<const std::string> placeholders);

// spec of the legacy Endpoints object: its subsets. `truncated`: more than 1000 addresses.
Value endpoint_subsets(const Value& service, std::span<const ObjectPtr> pods, bool* truncated);

}  // namespace skiff::controllers
