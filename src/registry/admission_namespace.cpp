// NamespaceLifecycle: nothing is made in a namespace that is absent or going away.
#include "errors.hpp"
#include "keys.hpp"
#include "skiff/registry/scan.hpp"
#include "strategy.hpp"

namespace skiff::registry::admission {

Result<void> namespace_usable(Core& core, const api::Resource& resource, std::string_view ns,
                              std::string_view name) {
  if (core.bootstrapping) return {};
  const ItemPtr item = core.find("", "namespaces", "", ns);
  if (!item) {
    static const api::Resource* namespaces = api::find_resource("", "v1", "namespaces");
    return errors::not_found(*namespaces, ns);
  }
  if (scan::find(item->value, {"metadata", "deletionTimestamp"}).empty()) return {};
  Error refusal = errors::forbidden(resource, name,
                                    "unable to create new content in namespace " + std::string(ns) +
                                        " because it is being terminated");
  auto details = std::make_shared<ErrorDetails>(*refusal.details);
  details->causes.push_back({"NamespaceTerminating",
                             "namespace " + std::string(ns) + " is being terminated",
                             "metadata.namespace"});
  refusal.details = std::move(details);
  return refusal;
}

}  // namespace skiff::registry::admission
