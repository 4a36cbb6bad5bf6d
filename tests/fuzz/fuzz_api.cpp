// Whole requests against a whole API in memory: whatever is asked, the answer is an answer, and the
// fault is never the server's.
#include <memory>

#include "fuzz.hpp"
#include "skiff/api/value.hpp"
#include "unit/apiserver/cluster.hpp"

using namespace skiff;

namespace {

// One API for many requests, so that they meet what earlier ones left; now and then a new one.
test::Cluster& cluster() {
  constexpr int requests_each = 3000;
  static std::unique_ptr<test::Cluster> current;
  static int asked = 0;
  if (!current || ++asked % requests_each == 0) {
    current.reset();
    current = std::make_unique<test::Cluster>();
  }
  return *current;
}

std::string_view line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view out = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return out;
}

}  // namespace

// METHOD TARGET, the body's media type, the body.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string_view first = line(rest);
  const std::string_view type = line(rest);
  const std::size_t space = first.find(' ');
  if (space == std::string_view::npos || space + 1 == first.size()) return 0;
  const std::string_view target = first.substr(space + 1);
  // What the HTTP parser refuses does not get here; watches and followed logs have no end.
  const std::size_t question = std::min(target.find('?'), target.size());
  if (!target.starts_with('/') || !http::percent_decode(target.substr(0, question))) return 0;
  if (question < target.size() && !http::Query::parse(target.substr(question + 1))) return 0;
  if (target.find("watch") != std::string_view::npos) return 0;
  test::Recorder answer = cluster().send(std::string(first.substr(0, space)), std::string(target),
                                         std::string(rest), std::string(type));
  SKIFF_ASSERT(answer.status >= 200 && answer.status < 600, "every request is answered");
  SKIFF_ASSERT(answer.status != 500, "no request makes the server fail");
  if (answer.status >= 400 && answer.headers.get("Content-Type") == "application/json") {
    const auto status = api::parse_json(answer.body);
    SKIFF_ASSERT(status && (*status)["kind"].as_string() == "Status", "a refusal is a Status");
    SKIFF_ASSERT(!(*status)["message"].as_string().empty(), "that says why");
  }
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      "POST /api/v1/namespaces/default/configmaps\napplication/json\n"
      R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"a-","labels":{"x":"y"}},"data":{"k":"v"}})",
      "POST /apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict\napplication/yaml\n"
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 3\n"
      "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
      "    spec:\n      containers:\n      - name: web\n        image: skiff/demo\n"
      "        ports: [{containerPort: 8080}]\n        resources: {limits: {cpu: 100m}}\n",
      "POST /api/v1/namespaces/default/services\napplication/json\n"
      R"({"metadata":{"name":"web"},"spec":{"type":"NodePort","selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080,"nodePort":30080}]}})",
      "POST /api/v1/namespaces/default/pods?dryRun=All\napplication/json\n"
      R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","livenessProbe":{"httpGet":{"port":80}}}],"tolerations":[{"operator":"Exists"}]}})",
      "PATCH /api/v1/namespaces/default/services/web\napplication/strategic-merge-patch+json\n"
      R"({"spec":{"ports":[{"port":80,"$patch":"delete"},{"port":81}],"$setElementOrder/ports":[{"port":81}]}})",
      "PATCH /apis/apps/v1/namespaces/default/deployments/web\napplication/json-patch+json\n"
      R"([{"op":"test","path":"/spec/replicas","value":3},{"op":"replace","path":"/spec/replicas","value":4},{"op":"move","from":"/metadata/labels","path":"/metadata/annotations"}])",
      "PATCH /apis/apps/v1/namespaces/default/deployments/web/scale\napplication/merge-patch+json\n"
      R"({"spec":{"replicas":2}})",
      "GET /api/v1/pods?labelSelector=a in "
      "(b,c),!d&fieldSelector=spec.nodeName=x&limit=5&continue=eyJ2\n\n",
      "GET /apis/apps/v1/deployments?resourceVersion=3&resourceVersionMatch=Exact\n\n",
      "DELETE /api/v1/namespaces/default/services/web\napplication/json\n"
      R"({"propagationPolicy":"Foreground","gracePeriodSeconds":0,"preconditions":{"uid":"x"}})",
      "DELETE /api/v1/namespaces/default/configmaps?labelSelector=x%3Dy\n\n",
      "PUT /api/v1/namespaces/default/services/web/status\napplication/json\n"
      R"({"metadata":{"name":"web","resourceVersion":"9"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}})",
      "POST /api/v1/namespaces/default/pods/p/eviction\napplication/json\n"
      R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}})",
      "POST /api/v1/namespaces/default/pods/p/binding\napplication/json\n"
      R"({"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}})",
      "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews\napplication/json\n"
      R"({"spec":{"resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}})",
      "POST /api/v1/namespaces/default/serviceaccounts/default/token\napplication/json\n"
      R"({"spec":{"audiences":["a"],"expirationSeconds":600}})",
      "POST /apis/rbac.authorization.k8s.io/v1/clusterroles\napplication/json\n"
      R"({"metadata":{"name":"r"},"rules":[{"verbs":["*"],"apiGroups":[""],"resources":["pods/log"]}]})",
      "GET /openapi/v3/apis/apps/v1?hash=0\n\n",
      "GET /apis\n\n",
      "GET /api/v1/namespaces/default/pods/p/log?tailLines=1&sinceSeconds=-1\n\n",
  };
  return kSeeds;
}
