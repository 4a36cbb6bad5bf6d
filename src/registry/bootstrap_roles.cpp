// RBAC defaults ("Using RBAC Authorization", default roles and role bindings), as far as something
// here or a usual add-on asks for them.
#include "bootstrap.hpp"

namespace skiff::registry {
namespace {

// Lists are separated by commas; "-" in groups stands for the core group.
struct Rule {
  std::string_view role;
  std::string_view verbs;
  std::string_view groups;
  std::string_view resources;  // or non-resource URLs, when `groups` is empty
  std::string_view names = "";
};

constexpr std::string_view kRead = "get,list,watch";
constexpr std::string_view kWrite = "create,delete,deletecollection,patch,update";
constexpr std::string_view kAll = "create,delete,deletecollection,get,list,patch,update,watch";

constexpr std::string_view kViewCore =
    "bindings,configmaps,endpoints,events,limitranges,namespaces,namespaces/status,"
    "persistentvolumeclaims,persistentvolumeclaims/status,pods,pods/log,pods/status,"
    "replicationcontrollers,replicationcontrollers/scale,replicationcontrollers/status,"
    "resourcequotas,resourcequotas/status,serviceaccounts,services,services/status";
constexpr std::string_view kViewApps =
    "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,"
    "deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,"
    "statefulsets/scale,statefulsets/status";
constexpr std::string_view kWriteCore =
    "configmaps,endpoints,events,persistentvolumeclaims,pods,pods/attach,pods/exec,"
    "pods/portforward,pods/proxy,pods/eviction,replicationcontrollers,"
    "replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy";
constexpr std::string_view kWriteApps =
    "daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,"
    "statefulsets,statefulsets/scale";
constexpr std::string_view kBatch = "cronjobs,cronjobs/status,jobs,jobs/status";
constexpr std::string_view kNetworking = "ingresses,ingresses/status,networkpolicies";

constexpr Rule kRules[] = {
    {"cluster-admin", "*", "*", "*"},
    {"cluster-admin", "*", "", "*"},

    {"view", kRead, "-", kViewCore},
    {"view", kRead, "apps", kViewApps},
    {"view", kRead, "autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status"},
    {"view", kRead, "batch", kBatch},
    {"view", kRead, "discovery.k8s.io", "endpointslices"},
    {"view", kRead, "events.k8s.io", "events"},
    {"view", kRead, "networking.k8s.io", kNetworking},
    {"view", kRead, "policy", "poddisruptionbudgets,poddisruptionbudgets/status"},

    {"edit", kRead, "-", kViewCore},
    {"edit", kRead, "-",
     "secrets,pods/attach,pods/exec,pods/portforward,pods/proxy,services/proxy"},
    {"edit", kWrite, "-", kWriteCore},
    {"edit", "impersonate", "-", "serviceaccounts"},
    {"edit", "create", "-", "serviceaccounts/token"},
    {"edit", kRead, "apps", kViewApps},
    {"edit", kWrite, "apps", kWriteApps},
    {"edit", kAll, "autoscaling", "horizontalpodautoscalers"},
    {"edit", kAll, "batch", kBatch},
    {"edit", kAll, "coordination.k8s.io", "leases"},
    {"edit", kRead, "discovery.k8s.io", "endpointslices"},
    {"edit", kRead, "events.k8s.io", "events"},
    {"edit", kAll, "networking.k8s.io", kNetworking},
    {"edit", kAll, "policy", "poddisruptionbudgets"},

    {"admin", kRead, "-", kViewCore},
    {"admin", kRead, "-",
     "secrets,pods/attach,pods/exec,pods/portforward,pods/proxy,services/proxy"},
    {"admin", kWrite, "-", kWriteCore},
    {"admin", "impersonate", "-", "serviceaccounts"},
    {"admin", "create", "-", "serviceaccounts/token"},
    {"admin", kRead, "apps", kViewApps},
    {"admin", kWrite, "apps", kWriteApps},
    {"admin", kAll, "autoscaling", "horizontalpodautoscalers"},
    {"admin", kAll, "batch", kBatch},
    {"admin", kAll, "coordination.k8s.io", "leases"},
    {"admin", kRead, "discovery.k8s.io", "endpointslices"},
    {"admin", kRead, "events.k8s.io", "events"},
    {"admin", kAll, "networking.k8s.io", kNetworking},
    {"admin", kAll, "policy", "poddisruptionbudgets"},
    {"admin", "create", "authorization.k8s.io", "localsubjectaccessreviews"},
    {"admin", kAll, "rbac.authorization.k8s.io", "rolebindings,roles"},

    {"system:discovery", "get", "",
     "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"},
    {"system:public-info-viewer", "get", "", "/healthz,/livez,/readyz,/version,/version/"},
    {"system:monitoring", "get", "",
     "/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"},
    {"system:basic-user", "create", "authorization.k8s.io",
     "selfsubjectaccessreviews,selfsubjectrulesreviews"},
    {"system:basic-user", "create", "authentication.k8s.io", "selfsubjectreviews"},
    {"system:service-account-issuer-discovery", "get", "",
     "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,"
     "/openid/v1/jwks/"},
    {"system:auth-delegator", "create", "authentication.k8s.io", "tokenreviews"},
    {"system:auth-delegator", "create", "authorization.k8s.io", "subjectaccessreviews"},
    {"system:kubelet-api-admin", "get,list,watch,proxy", "-", "nodes"},
    {"system:kubelet-api-admin", "*", "-",
     "nodes/log,nodes/metrics,nodes/proxy,nodes/stats,nodes/configz,nodes/healthz,nodes/pods"},

    {"system:node", "create", "authentication.k8s.io", "tokenreviews"},
    {"system:node", "create", "authorization.k8s.io",
     "localsubjectaccessreviews,subjectaccessreviews"},
    {"system:node", kRead, "-", "services"},
    {"system:node", "create,get,list,watch", "-", "nodes"},
    {"system:node", "patch,update", "-", "nodes,nodes/status"},
    {"system:node", "create,delete,get,list,watch", "-", "pods"},
    {"system:node", "patch,update", "-", "pods/status"},
    {"system:node", "create", "-", "pods/eviction,serviceaccounts/token"},
    {"system:node", kRead, "-", "configmaps,secrets"},
    {"system:node", "get,list,watch,update,patch", "-",
     "persistentvolumeclaims,persistentvolumes,persistentvolumeclaims/status"},
    {"system:node", "create,patch,update", "-", "events"},
    {"system:node", "create,patch,update", "events.k8s.io", "events"},
    {"system:node", "create,delete,get,patch,update", "coordination.k8s.io", "leases"},
    {"system:node", "get,list,watch,create,delete,update,patch", "storage.k8s.io",
     "csinodes,volumeattachments,csidrivers"},
    {"system:node", kRead, "node.k8s.io", "runtimeclasses"},
    {"system:node", "create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"},
    {"system:node", kRead, "discovery.k8s.io", "endpointslices"},
    {"system:node", "get,list,watch,create,delete,update,patch", "resource.k8s.io",
     "resourceslices,resourceclaims"},

    {"system:node-bootstrapper", "create,get,list,watch", "certificates.k8s.io",
     "certificatesigningrequests"},
    {"system:node-proxier", "list,watch", "-", "endpoints,services"},
    {"system:node-proxier", kRead, "-", "nodes"},
    {"system:node-proxier", "create,patch,update", "-,events.k8s.io", "events"},
    {"system:node-proxier", "list,watch", "discovery.k8s.io", "endpointslices"},
    {"system:node-proxier", "list,watch", "networking.k8s.io", "servicecidrs"},
    {"system:kube-dns", "list,watch", "-", "endpoints,services"},
    {"system:persistent-volume-provisioner", "create,delete,get,list,watch", "-",
     "persistentvolumes"},
    {"system:persistent-volume-provisioner", "get,list,update,watch", "-",
     "persistentvolumeclaims"},
    {"system:persistent-volume-provisioner", kRead, "storage.k8s.io", "storageclasses"},
    {"system:persistent-volume-provisioner", "create,get,list,patch,update,watch", "-", "events"},

    {"system:kube-scheduler", "create,patch,update", "-,events.k8s.io", "events"},
    {"system:kube-scheduler", "create,get,list,update,watch", "coordination.k8s.io", "leases"},
    {"system:kube-scheduler", "get,list,watch,delete", "-", "pods"},
    {"system:kube-scheduler", "create", "-", "bindings,pods/binding"},
    {"system:kube-scheduler", "patch,update", "-", "pods/status"},
    {"system:kube-scheduler", kRead, "-",
     "namespaces,nodes,persistentvolumeclaims,persistentvolumes,replicationcontrollers,services"},
    {"system:kube-scheduler", kRead, "apps", "replicasets,statefulsets"},
    {"system:kube-scheduler", kRead, "policy", "poddisruptionbudgets"},
    {"system:kube-scheduler", kRead, "storage.k8s.io",
     "csidrivers,csinodes,csistoragecapacities,storageclasses,volumeattachments"},
    {"system:kube-controller-manager", "*", "*", "*"},
};

struct Binding {
  std::string_view role;
  std::string_view subject_kind;  // "User" or "Group"
  std::string_view subject;
};

constexpr Binding kBindings[] = {
    {"cluster-admin", "Group", "system:masters"},
    {"system:discovery", "Group", "system:authenticated"},
    {"system:basic-user", "Group", "system:authenticated"},
    {"system:public-info-viewer", "Group", "system:authenticated"},
    {"system:public-info-viewer", "Group", "system:unauthenticated"},
    {"system:monitoring", "Group", "system:monitoring"},
    {"system:service-account-issuer-discovery", "Group", "system:serviceaccounts"},
    {"system:node", "Group", "system:nodes"},
    {"system:node-proxier", "User", "system:kube-proxy"},
    {"system:kube-scheduler", "User", "system:kube-scheduler"},
    {"system:kube-controller-manager", "User", "system:kube-controller-manager"},
    {"system:kube-dns", "User", "system:kube-dns"},
};

Value split(std::string_view list) {
  Value out = Value::array();
  while (true) {
    const auto comma = list.find(',');
    const std::string_view one = list.substr(0, comma);
    out.push_back(one == "-" ? "" : one);
    if (comma == std::string_view::npos) return out;
    list.remove_prefix(comma + 1);
  }
}

Value rule_of(const Rule& r) {
  Value rule = Value::object({{"verbs", split(r.verbs)}});
  if (r.groups.empty()) {
    rule.set("nonResourceURLs", split(r.resources));
  } else {
    rule.set("apiGroups", split(r.groups));
    rule.set("resources", split(r.resources));
  }
  if (!r.names.empty()) rule.set("resourceNames", split(r.names));
  return rule;
}

Value frame(std::string_view kind, std::string_view name) {
  Value labels = Value::object({{"kubernetes.io/bootstrapping", "rbac-defaults"}});
  Value notes = Value::object({{"rbac.authorization.kubernetes.io/autoupdate", "true"}});
  Value metadata = Value::object({{"name", name}});
  metadata.set("labels", std::move(labels));
  metadata.set("annotations", std::move(notes));
  Value doc = Value::object({{"kind", kind}, {"apiVersion", "rbac.authorization.k8s.io/v1"}});
  doc.set("metadata", std::move(metadata));
  return doc;
}

constexpr std::string_view kGroup = "rbac.authorization.k8s.io";

}  // namespace

std::vector<Value> default_roles() {
  std::vector<Value> out;
  for (const Rule& r : kRules) {
    if (out.empty() || out.back()["metadata"]["name"].as_string() != r.role) {
      out.push_back(frame("ClusterRole", r.role));
    }
    out.back().member("rules").push_back(rule_of(r));
  }
  const std::size_t roles = out.size();
  for (const Binding& b : kBindings) {
    const bool same = out.size() > roles && out.back()["metadata"]["name"].as_string() == b.role;
    if (!same) {
      Value doc = frame("ClusterRoleBinding", b.role);
      doc.set("roleRef",
              Value::object({{"apiGroup", kGroup}, {"kind", "ClusterRole"}, {"name", b.role}}));
      out.push_back(std::move(doc));
    }
    Value subject =
        Value::object({{"apiGroup", kGroup}, {"kind", b.subject_kind}, {"name", b.subject}});
    out.back().member("subjects").push_back(std::move(subject));
  }
  return out;
}

}  // namespace skiff::registry
