#include "bootstrap.hpp"

#include "errors.hpp"
#include "keys.hpp"
#include "write.hpp"

namespace skiff::registry {
namespace {

constexpr std::int64_t kClusterCritical = 2000000000;
constexpr std::int64_t kNodeCritical = 2000001000;

Value named(std::string_view api_version, std::string_view kind, std::string_view name,
            std::string_view ns = "") {
  Value metadata = Value::object({{"name", name}});
  if (!ns.empty()) metadata.set("namespace", ns);
  Value doc = Value::object({{"kind", kind}, {"apiVersion", api_version}});
  doc.set("metadata", std::move(metadata));
  return doc;
}

Value critical(std::string_view name, std::int64_t value, std::string_view description) {
  Value doc = named("scheduling.k8s.io/v1", "PriorityClass", name);
  doc.set("value", value);
  doc.set("description", description);
  return doc;
}

Value kubernetes_service(const Core& core) {
  Value doc = named("v1", "Service", "kubernetes", "default");
  doc.member("metadata")
      .set("labels", Value::object({{"component", "apiserver"}, {"provider", "kubernetes"}}));
  Value port = Value::object({{"name", "https"},
                              {"protocol", "TCP"},
                              {"port", 443},
                              {"targetPort", core.options.advertise_port}});
  Value spec = Value::object({{"type", "ClusterIP"}, {"sessionAffinity", "None"}});
  spec.set("clusterIP", core.services.first_ip());
  spec.set("ipFamilyPolicy", "SingleStack");
  spec.set("ports", Value::array({std::move(port)}));
  doc.set("spec", std::move(spec));
  return doc;
}

Value endpoint_port(const Core& core) {
  return Value::object(
      {{"name", "https"}, {"port", core.options.advertise_port}, {"protocol", "TCP"}});
}

Value kubernetes_endpoints(const Core& core) {
  Value doc = named("v1", "Endpoints", "kubernetes", "default");
  doc.member("metadata")
      .set("labels", Value::object({{"endpointslice.kubernetes.io/skip-mirror", "true"}}));
  Value address = Value::object({{"ip", core.options.advertise_address}});
  Value subset = Value::object({{"addresses", Value::array({std::move(address)})},
                                {"ports", Value::array({endpoint_port(core)})}});
  doc.set("subsets", Value::array({std::move(subset)}));
  return doc;
}

Value kubernetes_slice(const Core& core) {
  Value doc = named("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default");
  doc.member("metadata")
      .set("labels", Value::object({{"kubernetes.io/service-name", "kubernetes"}}));
  const auto family = family_of(core.options.advertise_address);
  doc.set("addressType", name_of(family.value_or(IpFamily::v4)));
  Value endpoint = Value::object({{"addresses", Value::array({core.options.advertise_address})},
                                  {"conditions", Value::object({{"ready", true}})}});
  doc.set("endpoints", Value::array({std::move(endpoint)}));
  doc.set("ports", Value::array({endpoint_port(core)}));
  return doc;
}

Value service_cidr(const Core& core) {
  Value doc = named("networking.k8s.io/v1", "ServiceCIDR", "kubernetes");
  Value cidrs = Value::array();
  for (const IpFamily f : core.services.families()) cidrs.push_back(core.services.cidr(f));
  doc.set("spec", Value::object({{"cidrs", std::move(cidrs)}}));
  return doc;
}

// Pods cannot be sent to a loopback address: validation refuses such endpoints.
bool is_reachable(const std::string& address) {
  return !address.empty() && !address.starts_with("127.") && address != "::1";
}

// `exact`: an existing object is brought to this state as well.
void add(const Core& core, std::vector<Write>& writes, Value doc, bool exact = false) {
  const auto version = api::GroupVersion::parse(doc["apiVersion"].as_string());
  const api::Resource* resource =
      api::find_kind(version->group, version->version, doc["kind"].as_string());
  if (!resource) return;
  const std::string name = doc["metadata"]["name"].as_string();
  const std::string ns = doc["metadata"]["namespace"].as_string();
  const bool exists =
      core.find(keys::stored(*resource).group, resource->plural, ns, name) != nullptr;
  if (exists && !exact) return;
  Write write;
  write.type = exists ? Write::Type::update : Write::Type::create;
  write.target = {resource, ns, exists ? name : "", ""};
  write.document = std::move(doc);
  writes.push_back(std::move(write));
}

std::vector<Write> missing(const Core& core) {
  std::vector<Write> writes;
  for (const std::string_view name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    add(core, writes, named("v1", "Namespace", name));
  }
  add(core, writes, kubernetes_service(core));
  add(core, writes, service_cidr(core));
  if (is_reachable(core.options.advertise_address)) {
    add(core, writes, kubernetes_endpoints(core), true);
    add(core, writes, kubernetes_slice(core), true);
  }
  add(core, writes,
      critical("system-cluster-critical", kClusterCritical,
               "Used for system critical pods that must run in the cluster, but can be moved to "
               "another node if necessary."));
  add(core, writes,
      critical("system-node-critical", kNodeCritical,
               "Used for system critical pods that must not be moved from their current node."));
  for (Value& role : default_roles()) add(core, writes, std::move(role));
  return writes;
}

}  // namespace

Task<Result<void>> write_bootstrap(Core* core) {
  WriteContext context;
  context.user =
      std::make_shared<User>(User{.name = "system:apiserver", .groups = {"system:masters"}});
  std::vector<Write> writes = missing(*core);
  if (writes.empty()) co_return Result<void>();
  core->bootstrapping = true;
  const auto results = co_await write_many(core, std::move(writes), context);
  core->bootstrapping = false;
  for (const auto& r : results) {
    if (!r && r.error().code != Code::already_exists) {
      co_return annotate(r.error(), "cannot write the cluster's first objects");
    }
  }
  co_return Result<void>();
}

Task<void> keep_kubernetes_service(Core* core) {
  store::WatchOptions options;
  options.range = store::Range::key(keys::of("", "services", "default", "kubernetes"));
  auto watch = core->store.watch(std::move(options));
  while (watch) {
    const auto events = co_await (*watch)->next();
    if (!events) co_return;  // the store was closed: one key cannot fall behind
    if (events->back().type != store::Event::Type::erase) continue;
    // Whoever deleted it gives its address back once his write is over, a moment after the event.
    std::vector<std::string> keys{events->back().item->key};
    { const KeyLocks::Guard turn = co_await core->locks.lock(std::move(keys)); }
    if (auto ok = co_await write_bootstrap(core); !ok) {
      log::warn("registry", "cannot restore the kubernetes service", {{"error", ok.error()}});
    }
  }
}

}  // namespace skiff::registry
