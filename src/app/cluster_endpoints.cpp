// Where default/kubernetes leads when there are several servers: to those the leader hears.
#include <algorithm>

#include "cluster.hpp"
#include "skiff/api/schema.hpp"

namespace skiff::app {
namespace {

constexpr Duration kSettle = 1s;  // several servers may change at once, and a stumble is no fall
constexpr Duration kLook = 10s;   // health changes without a word

std::string host_of(const std::string& address) {
  const auto url = http::Url::parse(address);
  return url ? url->host : "";
}

api::Value port_of(const std::string& address) {
  const auto url = http::Url::parse(address);
  return api::Value::object({{"name", "https"},
                             {"port", static_cast<std::int64_t>(url ? url->port : 6443)},
                             {"protocol", "TCP"}});
}

api::Value object(std::string_view version, std::string_view kind, std::string_view label,
                  std::string_view value) {
  api::Value metadata = api::Value::object({{"name", "kubernetes"}, {"namespace", "default"}});
  metadata.set("labels", api::Value::object({{label, value}}));
  api::Value doc = api::Value::object({{"apiVersion", version}, {"kind", kind}});
  doc.set("metadata", std::move(metadata));
  return doc;
}

api::Value endpoints_of(const std::vector<std::string>& addresses) {
  api::Value doc = object("v1", "Endpoints", "endpointslice.kubernetes.io/skip-mirror", "true");
  api::Value ips = api::Value::array();
  for (const std::string& a : addresses) ips.push_back(api::Value::object({{"ip", host_of(a)}}));
  api::Value subset = api::Value::object();
  subset.set("addresses", std::move(ips));
  subset.set("ports", api::Value::array({port_of(addresses.front())}));
  doc.set("subsets", api::Value::array({std::move(subset)}));
  return doc;
}

api::Value slice_of(const std::vector<std::string>& addresses) {
  api::Value doc =
      object("discovery.k8s.io/v1", "EndpointSlice", "kubernetes.io/service-name", "kubernetes");
  const bool v6 = host_of(addresses.front()).find(':') != std::string::npos;
  doc.set("addressType", v6 ? "IPv6" : "IPv4");
  api::Value list = api::Value::array();
  for (const std::string& a : addresses) {
    api::Value one = api::Value::object();
    one.set("addresses", api::Value::array({host_of(a)}));
    one.set("conditions", api::Value::object({{"ready", true}}));
    list.push_back(std::move(one));
  }
  doc.set("endpoints", std::move(list));
  doc.set("ports", api::Value::array({port_of(addresses.front())}));
  return doc;
}

}  // namespace

std::vector<std::string> usable_endpoints(std::vector<std::string> addresses,
                                          const std::string& own) {
  const auto own_port = http::Url::parse(own)->port;
  std::erase_if(addresses, [&](const std::string& address) {
    const auto url = http::Url::parse(address);
    return !url || url->port != own_port || url->host.starts_with("127.");
  });
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

Task<Result<void>> write_endpoints(registry::Registry* registry,
                                   std::vector<std::string> addresses) {
  registry::WriteContext context;
  context.user = std::make_shared<registry::User>(
      registry::User{.name = "system:apiserver", .groups = {"system:masters"}});
  const api::Resource* kinds[] = {api::find_resource("", "v1", "endpoints"),
                                  api::find_resource("discovery.k8s.io", "v1", "endpointslices")};
  api::Value documents[] = {endpoints_of(addresses), slice_of(addresses)};
  for (int i = 0; i < 2; ++i) {
    registry::Target target{kinds[i], "default", "kubernetes", ""};
    const bool there = registry->get(target).has_value();
    Result<registry::Written> written = Error{};
    if (there) {
      written = co_await registry->update(std::move(target), std::move(documents[i]), context);
    } else {
      target.name.clear();
      written = co_await registry->create(std::move(target), std::move(documents[i]), context);
    }
    if (!written) co_return written.error();
  }
  co_return Result<void>();
}

// Only the leader knows who answers.
Task<void> Cluster::keep_endpoints() {
  store::Store& store = registry_->store();
  std::vector<std::string> written;
  for (;;) {
    while (store.decider() != store::Decider::here) {
      written.clear();
      co_await store.decider_changed();
    }
    std::vector<std::string> wanted;
    std::size_t others = 0;
    for (const raft::PeerStatus& p : log_->status().servers) {
      others += p.self ? 0U : 1U;
      if (p.self || p.healthy) wanted.push_back(p.server.address);
    }
    wanted = usable_endpoints(std::move(wanted), options_.own_url());
    if (!wanted.empty() && wanted != written) {
      const Result<void> ok = co_await write_endpoints(registry_, wanted);
      if (ok) written = wanted;
    }
    // Alone, nothing changes without a word.
    if (others == 0) {
      co_await log_->status_changed();
      co_await env_.clock->sleep_for(kSettle);
    } else {
      co_await env_.clock->sleep_for(kLook);
    }
  }
}

}  // namespace skiff::app
