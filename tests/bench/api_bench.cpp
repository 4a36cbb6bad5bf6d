// Documents: how fast they are parsed, written, copied and patched, on one core. RapidJSON's DOM is
// measured beside them for scale.
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstdio>
#include <functional>

#include "skiff/api/patch.hpp"
#include "skiff/api/quantity.hpp"
#include "skiff/api/selector.hpp"
#include "skiff/base/clock.hpp"

using namespace skiff;
using namespace skiff::api;

namespace {

std::string pod(int i) {
  const std::string n = std::to_string(i);
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-6d4b75cb6d-)" + n +
         R"(","generateName":"web-6d4b75cb6d-","namespace":"default","uid":"0b6f1e0c-9d5e-4c3a-8a0b-7f2a9c1d4e)" +
         std::to_string(10 + i % 90) + R"(","resourceVersion":")" + n +
         R"(","creationTimestamp":"2026-11-23T18:15:48Z","labels":{"app":"web","pod-template-hash":"6d4b75cb6d"},)"
         R"("annotations":{"example.com/checksum":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef"},)"
         R"("ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-6d4b75cb6d",)"
         R"("uid":"5b0d1f5e-1f5e-4c3a-8a0b-7f2a9c1d4e10","controller":true,"blockOwnerDeletion":true}]},)"
         R"("spec":{"volumes":[{"name":"kube-api-access-x7k2p","projected":{"sources":[{"serviceAccountToken":)"
         R"({"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":)"
         R"([{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[{"name":"web",)"
         R"("image":"registry.example.com/team/web:1.27.3","args":["--listen=:8080","--message=a \"quoted\" word"],)"
         R"("ports":[{"containerPort":8080,"protocol":"TCP"}],"env":[{"name":"POD_NAME","valueFrom":)"
         R"({"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}},{"name":"MODE","value":"production"}],)"
         R"("resources":{"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"250m","memory":"64Mi"}},)"
         R"("volumeMounts":[{"name":"kube-api-access-x7k2p","readOnly":true,"mountPath":)"
         R"("/var/run/secrets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log",)"
         R"("terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always",)"
         R"("terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default",)"
         R"("serviceAccount":"default","nodeName":"node-)" +
         n +
         R"(","securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":)"
         R"("node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],)"
         R"("priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":)"
         R"({"phase":"Running","conditions":[{"type":"Ready","status":"True","lastProbeTime":null,)"
         R"("lastTransitionTime":"2026-11-23T18:15:50Z"},{"type":"PodScheduled","status":"True",)"
         R"("lastProbeTime":null,"lastTransitionTime":"2026-11-23T18:15:48Z"}],"hostIP":"10.0.0.7",)"
         R"("podIP":"10.42.0.17","startTime":"2026-11-23T18:15:48Z","containerStatuses":[{"name":"web",)"
         R"("state":{"running":{"startedAt":"2026-11-23T18:15:49Z"}},"ready":true,"restartCount":0,)"
         R"("image":"registry.example.com/team/web:1.27.3","started":true}],"qosClass":"Burstable"}})";
}

const RealClock kClock;
volatile std::size_t sink = 0;  // keeps results from being optimised away

// Runs `work` for about half a second; `bytes` is what one run handles, 0 to print runs a second.
void measure(const char* name, std::size_t bytes, const std::function<std::size_t()>& work) {
  sink = work();
  std::size_t runs = 0;
  const auto start = kClock.now();
  auto now = start;
  while (now - start < 500ms) {
    for (int i = 0; i < 8; ++i) sink = sink + work();
    runs += 8;
    now = kClock.now();
  }
  const double seconds = std::chrono::duration<double>(now - start).count();
  const double rate = static_cast<double>(runs) / seconds;
  if (bytes > 0) {
    std::printf("%-34s %10.0f MB/s %12.0f /s\n", name, rate * static_cast<double>(bytes) / 1e6,
                rate);
  } else {
    std::printf("%-34s %10s      %12.0f /s\n", name, "", rate);
  }
}

void json(const std::string& text, const Value& doc) {
  measure("parse a pod", text.size(), [&] { return parse_json(text)->size(); });
  measure("  RapidJSON, DOM", text.size(), [&] {
    rapidjson::Document d;
    d.Parse(text.data(), text.size());
    return static_cast<std::size_t>(d.MemberCount());
  });
  std::string out;
  measure("write a pod", text.size(), [&] {
    out.clear();
    append_json(out, doc);
    return out.size();
  });
  rapidjson::Document d;
  d.Parse(text.data(), text.size());
  rapidjson::StringBuffer buffer;
  measure("  RapidJSON, DOM", text.size(), [&] {
    buffer.Clear();
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    d.Accept(writer);
    return static_cast<std::size_t>(buffer.GetSize());
  });
  measure("copy a pod", text.size(), [&] { return Value(doc).size(); });
  measure("compare two pods", text.size(), [&, other = doc] { return doc == other ? 1U : 0U; });
}

void list(const std::string& one) {
  std::string text = R"({"kind":"List","apiVersion":"v1","items":[)";
  for (int i = 0; text.size() + one.size() < (3U << 20U) - 100; ++i) {
    text += (i > 0 ? "," : "") + pod(i);
  }
  text += "]}";
  measure("parse a list of 3 MB", text.size(), [&] { return parse_json(text)->size(); });
  const Value doc = *parse_json(text);
  measure("write a list of 3 MB", text.size(), [&] { return to_json(doc).size(); });
}

void yaml(const Value& doc) {
  const std::string text = to_yaml(doc);
  measure("parse a pod in YAML", text.size(), [&] { return parse_yaml(text)->size(); });
  measure("write a pod in YAML", text.size(), [&] { return to_yaml(doc).size(); });
}

void patches(const Value& doc) {
  const Type& type = *find_kind("", "v1", "Pod")->type;
  const Value merge =
      *parse_json(R"({"metadata":{"labels":{"x":"y"}},"status":{"phase":"Failed"}})");
  const Value strategic = *parse_json(
      R"({"status":{"conditions":[{"type":"Ready","status":"False"}]},
          "spec":{"containers":[{"name":"web","image":"other"}]}})");
  const Value operations = *parse_json(R"([{"op":"replace","path":"/spec/nodeName","value":"n"}])");
  measure("merge patch, with the copy", 0, [&] {
    Value v = doc;
    merge_patch(v, merge);
    return v.size();
  });
  measure("strategic merge patch, with copy", 0, [&] {
    Value v = doc;
    return strategic_merge_patch(type, v, strategic) ? v.size() : 0U;
  });
  measure("JSON patch, with the copy", 0, [&] {
    Value v = doc;
    return json_patch(v, operations) ? v.size() : 0U;
  });
}

}  // namespace

int main() {
  const std::string text = pod(7);
  const Value doc = *parse_json(text);
  std::printf("a pod of %zu bytes of JSON; a Value takes %zu, a Member %zu\n", text.size(),
              sizeof(Value), sizeof(Member));
  json(text, doc);
  list(text);
  yaml(doc);
  patches(doc);
  measure("parse and print a quantity", 0,
          [] { return Quantity::parse("1.5Gi")->to_string().size(); });
  const auto selector = *LabelSelector::parse("app=web,tier notin (db,cache),!legacy");
  measure("match a label selector", 0,
          [&] { return selector.matches(doc["metadata"]["labels"]) ? 1U : 0U; });
  return 0;
}
