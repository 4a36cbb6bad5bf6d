#include "strategy.hpp"

namespace skiff::registry {
namespace {

constexpr std::string_view kDaemonSetStatus =
    R"({"currentNumberScheduled":0,"desiredNumberScheduled":0,)"
    R"("numberMisscheduled":0,"numberReady":0})";
constexpr std::string_view kBudgetStatus =
    R"({"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0})";

Strategy row(std::string_view group, std::string_view plural) {
  Strategy s;
  s.group = group;
  s.plural = plural;
  return s;
}

Strategy counted(std::string_view group, std::string_view plural,
                 std::string_view initial_status = "") {
  Strategy s = row(group, plural);
  s.generation = true;
  s.initial_status = initial_status;
  return s;
}

Strategy upserted(std::string_view group, std::string_view plural) {
  Strategy s = row(group, plural);
  s.create_on_update = true;
  return s;
}

Strategy with_status(std::string_view group, std::string_view plural, std::string_view status) {
  Strategy s = row(group, plural);
  s.initial_status = status;
  return s;
}

void add_core(std::vector<Strategy>& rows) {
  Strategy pod = counted("", "pods");
  pod.returns_deleted = true;
  pod.on_create = pods::on_create;
  pod.on_update = pods::on_update;
  pod.on_status = pods::on_status;
  pod.admit = pods::admit;
  pod.grace = pods::grace;
  rows.push_back(pod);

  Strategy service = with_status("", "services", R"({"loadBalancer":{}})");
  service.create_on_update = true;
  service.returns_deleted = true;
  service.on_create = services::on_create;
  service.on_update = services::on_update;
  service.on_erase = services::on_erase;
  rows.push_back(service);

  Strategy ns = with_status("", "namespaces", R"({"phase":"Active"})");
  ns.on_create = kinds::namespace_create;
  ns.on_update = kinds::namespace_update;
  ns.on_remove = kinds::namespace_remove;
  rows.push_back(ns);

  Strategy node = row("", "nodes");
  node.keeps_status = true;
  node.on_create = kinds::node_create;
  node.on_update = kinds::node_update;
  rows.push_back(node);

  Strategy secret = row("", "secrets");
  secret.on_create = kinds::secret_create;
  secret.on_update = kinds::secret_update;
  rows.push_back(secret);

  Strategy claim = with_status("", "persistentvolumeclaims", R"({"phase":"Pending"})");
  claim.returns_deleted = true;
  claim.admit = kinds::claim_admit;
  rows.push_back(claim);

  Strategy volume = with_status("", "persistentvolumes", R"({"phase":"Pending"})");
  volume.returns_deleted = true;
  rows.push_back(volume);

  Strategy controller = counted("", "replicationcontrollers", R"({"replicas":0})");
  controller.orphans = true;
  rows.push_back(controller);

  Strategy event = upserted("", "events");
  event.collected = false;
  rows.push_back(event);

  Strategy quota = with_status("", "resourcequotas", "{}");
  quota.returns_deleted = true;
  rows.push_back(quota);

  for (const std::string_view plural : {"serviceaccounts", "podtemplates"}) {
    Strategy s = row("", plural);
    s.returns_deleted = true;
    s.generation = plural == "podtemplates";
    rows.push_back(s);
  }
  rows.push_back(upserted("", "endpoints"));
  rows.push_back(upserted("", "limitranges"));
}

void add_workloads(std::vector<Strategy>& rows) {
  Strategy deployment = counted("apps", "deployments", "{}");
  deployment.on_status = kinds::deployment_status;
  rows.push_back(deployment);
  rows.push_back(counted("apps", "replicasets", R"({"replicas":0})"));
  rows.push_back(counted("apps", "statefulsets", R"({"availableReplicas":0,"replicas":0})"));
  rows.push_back(counted("apps", "daemonsets", kDaemonSetStatus));
  Strategy job = counted("batch", "jobs", "{}");
  job.orphans = true;
  job.on_create = kinds::job_create;
  rows.push_back(job);
  rows.push_back(counted("batch", "cronjobs", "{}"));
  rows.push_back(with_status("autoscaling", "horizontalpodautoscalers",
                             R"({"currentMetrics":null,"desiredReplicas":0})"));
  Strategy budget = counted("policy", "poddisruptionbudgets", kBudgetStatus);
  budget.needs_revision = true;
  rows.push_back(budget);
  Strategy priority = counted("scheduling.k8s.io", "priorityclasses");
  priority.admit = kinds::priority_class_admit;
  rows.push_back(priority);
}

void add_others(std::vector<Strategy>& rows) {
  rows.push_back(upserted("coordination.k8s.io", "leases"));
  for (const std::string_view plural :
       {"roles", "rolebindings", "clusterroles", "clusterrolebindings"}) {
    rows.push_back(upserted("rbac.authorization.k8s.io", plural));
  }
  rows.push_back(counted("discovery.k8s.io", "endpointslices"));
  rows.push_back(counted("networking.k8s.io", "ingresses", R"({"loadBalancer":{}})"));
  rows.push_back(counted("networking.k8s.io", "ingressclasses"));
  rows.push_back(counted("networking.k8s.io", "networkpolicies"));
  rows.push_back(with_status("networking.k8s.io", "servicecidrs", "{}"));
  rows.push_back(counted("admissionregistration.k8s.io", "mutatingwebhookconfigurations"));
  rows.push_back(counted("admissionregistration.k8s.io", "validatingwebhookconfigurations"));
  rows.push_back(counted("admissionregistration.k8s.io", "validatingadmissionpolicies", "{}"));
  rows.push_back(counted("admissionregistration.k8s.io", "validatingadmissionpolicybindings"));
  rows.push_back(counted("flowcontrol.apiserver.k8s.io", "flowschemas", "{}"));
  rows.push_back(counted("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", "{}"));
  Strategy crd = counted("apiextensions.k8s.io", "customresourcedefinitions",
                         R"({"acceptedNames":{"kind":"","plural":""},"conditions":[]})");
  crd.needs_revision = true;
  rows.push_back(crd);
  Strategy api_service = with_status("apiregistration.k8s.io", "apiservices", "{}");
  api_service.needs_revision = true;
  rows.push_back(api_service);
  Strategy csr = with_status("certificates.k8s.io", "certificatesigningrequests", "{}");
  csr.on_create = kinds::csr_create;
  csr.on_update = kinds::csr_update;
  csr.on_status = kinds::csr_status;
  rows.push_back(csr);
  for (const std::string_view plural : {"csinodes", "csidrivers", "storageclasses"}) {
    Strategy s = row("storage.k8s.io", plural);
    s.returns_deleted = true;
    rows.push_back(s);
  }
  Strategy attachment = row("storage.k8s.io", "volumeattachments");
  attachment.returns_deleted = true;
  attachment.initial_status = R"({"attached":false})";
  rows.push_back(attachment);
}

std::map<std::pair<std::string_view, std::string_view>, Strategy> make_table() {
  std::vector<Strategy> rows;
  add_core(rows);
  add_workloads(rows);
  add_others(rows);
  std::map<std::pair<std::string_view, std::string_view>, Strategy> table;
  for (const Strategy& s : rows) table.emplace(std::pair(s.group, s.plural), s);
  return table;
}

}  // namespace

const Strategy& strategy_of(const api::Resource& stored) {
  static const auto table = make_table();
  static const Strategy defaults;
  const auto at = table.find({stored.group, stored.plural});
  return at == table.end() ? defaults : at->second;
}

}  // namespace skiff::registry
