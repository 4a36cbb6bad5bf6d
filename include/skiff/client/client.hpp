// The one door to the API for everything that is not the API server: controllers, scheduler,
// kubelet, proxy. In the server process it is the registry's DirectClient (no HTTP, no copies); on
// a remote worker HttpClient.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/api/object.hpp"
#include "skiff/api/patch.hpp"
#include "skiff/base/env.hpp"

namespace skiff::client {

using api::ObjectPtr;
using api::Value;

// A resource, an object or a subresource of it.
struct Ref {
  std::string group;     // "" for core
  std::string version;   // "v1"
  std::string resource;  // plural
  std::string ns;        // "" for cluster-scoped, or all namespaces in list and watch
  std::string name;      // "" in list, watch and create
  std::string subresource;

  Ref in(std::string ns_) const {
    Ref r = *this;
    r.ns = std::move(ns_);
    return r;
  }
  Ref at(std::string ns_, std::string name_) const {
    Ref r = in(std::move(ns_));
    r.name = std::move(name_);
    return r;
  }
  Ref at(const api::NamespacedName& key) const { return at(key.ns, key.name); }
  Ref sub(std::string subresource_) const {
    Ref r = *this;
    r.subresource = std::move(subresource_);
    return r;
  }
};

struct ListOptions {
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;        // see API concepts, "resource versions"
  std::string resource_version_match;  // "", "Exact", "NotOlderThan"
  std::int64_t limit = 0;
  std::string continue_token;
  bool bookmarks = true;
};

struct List {
  std::vector<ObjectPtr> items;
  std::string resource_version;
  std::string continue_token;
  std::int64_t remaining = 0;
};

struct WriteOptions {
  bool dry_run = false;
  std::string field_manager;
};

struct DeleteOptions {
  std::optional<std::int64_t> grace_period_seconds;
  std::string propagation_policy;  // "", Orphan, Background, Foreground
  std::string uid;                 // precondition
  std::string resource_version;    // precondition
  bool dry_run = false;
};

struct WatchEvent {
  enum class Type : std::uint8_t { added, modified, deleted, bookmark };
  Type type = Type::added;
  ObjectPtr object;
  // metadata.resourceVersion as a number, where the sender knows it without parsing the object;
  // else 0.
  std::int64_t revision = 0;
};

class WatchStream {
 public:
  virtual ~WatchStream() = default;
  // At least one event, in order. Code::expired: list again. Any other error: the stream is broken,
  // watch again from the last resourceVersion seen.
  virtual Task<Result<std::vector<WatchEvent>>> next() = 0;
};

// One write of a batch.
struct Write {
  enum class Type : std::uint8_t { create, update, patch, remove };
  Type type = Type::create;
  Ref ref;       // create: name may be empty (taken from the object)
  Value object;  // create, update: the object; patch: the patch document
  api::PatchType patch_type = api::PatchType::merge;
  DeleteOptions delete_options;
};

// Options in calls: GCC 12 destroys a temporary aggregate made with braces inside a co_await
// expression twice. Name what is not default in a local; the defaults below are written so that
// they are safe.
class Client {
 public:
  virtual ~Client() = default;

  virtual Task<Result<ObjectPtr>> get(Ref ref) = 0;
  virtual Task<Result<List>> list(Ref ref, ListOptions options) = 0;
  virtual Task<Result<std::unique_ptr<WatchStream>>> watch(Ref ref, ListOptions options) = 0;

  // The object carries metadata.resourceVersion for compare-and-swap, as everywhere in the API. For
  // subresources (status, binding, eviction, scale) set ref.subresource.
  virtual Task<Result<ObjectPtr>> create(Ref ref, Value object,
                                         WriteOptions options = WriteOptions()) = 0;
  virtual Task<Result<ObjectPtr>> update(Ref ref, Value object,
                                         WriteOptions options = WriteOptions()) = 0;
  virtual Task<Result<ObjectPtr>> patch(Ref ref, api::PatchType type, Value patch,
                                        WriteOptions options = WriteOptions()) = 0;
  // The deleted (or deleting) object.
  virtual Task<Result<ObjectPtr>> remove(Ref ref, DeleteOptions options = DeleteOptions()) = 0;

  // Many writes, each with its own verdict; in process they share one disk write.
  virtual Task<std::vector<Result<ObjectPtr>>> batch(std::vector<Write> writes) = 0;
};

// The resources skiff's own components use.
namespace resources {
inline const Ref kPods{"", "v1", "pods"};
inline const Ref kServices{"", "v1", "services"};
inline const Ref kNodes{"", "v1", "nodes"};
inline const Ref kNamespaces{"", "v1", "namespaces"};
inline const Ref kServiceAccounts{"", "v1", "serviceaccounts"};
inline const Ref kSecrets{"", "v1", "secrets"};
inline const Ref kConfigMaps{"", "v1", "configmaps"};
inline const Ref kEndpoints{"", "v1", "endpoints"};
inline const Ref kEvents{"", "v1", "events"};
inline const Ref kPersistentVolumeClaims{"", "v1", "persistentvolumeclaims"};
inline const Ref kEndpointSlices{"discovery.k8s.io", "v1", "endpointslices"};
inline const Ref kDeployments{"apps", "v1", "deployments"};
inline const Ref kReplicaSets{"apps", "v1", "replicasets"};
inline const Ref kStatefulSets{"apps", "v1", "statefulsets"};
inline const Ref kDaemonSets{"apps", "v1", "daemonsets"};
inline const Ref kControllerRevisions{"apps", "v1", "controllerrevisions"};
inline const Ref kJobs{"batch", "v1", "jobs"};
inline const Ref kCronJobs{"batch", "v1", "cronjobs"};
inline const Ref kReplicationControllers{"", "v1", "replicationcontrollers"};
inline const Ref kPersistentVolumes{"", "v1", "persistentvolumes"};
inline const Ref kResourceQuotas{"", "v1", "resourcequotas"};
inline const Ref kLeases{"coordination.k8s.io", "v1", "leases"};
inline const Ref kPriorityClasses{"scheduling.k8s.io", "v1", "priorityclasses"};
inline const Ref kPodDisruptionBudgets{"policy", "v1", "poddisruptionbudgets"};
}  // namespace resources

}  // namespace skiff::client
