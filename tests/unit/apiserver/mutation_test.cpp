// Requests that were damaged on the way: whatever comes, the answer is a Status and the server goes
// on. Seeded, so that a failure can be played again.
#include <catch2/catch_test_macros.hpp>

#include "cluster.hpp"

namespace skiff::test {
namespace {

constexpr int kRounds = 3000;

const Call kSamples[] = {
    {"POST",
     "/api/v1/namespaces/default/configmaps?fieldValidation=Strict",
     R"({"metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}})",
     {}},
    {"POST",
     "/api/v1/namespaces/default/pods",
     R"({"metadata":{"generateName":"p-"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1"}},"livenessProbe":{"httpGet":{"port":80}}}],"volumes":[{"name":"v","emptyDir":{}}]}})",
     {}},
    {"POST",
     "/api/v1/namespaces/default/services",
     R"({"metadata":{"generateName":"s-"},"spec":{"type":"NodePort","clusterIP":"10.96.3.4","ports":[{"port":80,"nodePort":30080}]}})",
     {}},
    {"PUT",
     "/apis/apps/v1/namespaces/default/deployments/web",
     R"({"metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})",
     {}},
    {"PATCH",
     "/apis/apps/v1/namespaces/default/deployments/web",
     R"({"spec":{"template":{"spec":{"containers":[{"name":"c","$patch":"delete"},{"name":"d","image":"j"}],"$setElementOrder/containers":[{"name":"d"}]}}}})",
     {}},
    {"PATCH",
     "/apis/apps/v1/namespaces/default/deployments/web/scale",
     R"([{"op":"replace","path":"/spec/replicas","value":3},{"op":"test","path":"/kind","value":"Scale"}])",
     {}},
    {"DELETE",
     "/api/v1/namespaces/default/configmaps/a",
     R"({"kind":"DeleteOptions","gracePeriodSeconds":3,"propagationPolicy":"Foreground","preconditions":{"uid":"x"}})",
     {}},
    {"GET",
     "/api/v1/namespaces/default/pods?labelSelector=a%20in%20(b,c),!d&fieldSelector=spec.nodeName=x"
     "&limit=5&continue=s1.5.3.61&resourceVersion=1",
     "",
     {}},
    {"POST",
     "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
     R"({"spec":{"resourceAttributes":{"verb":"list","resource":"pods"}}})",
     {}},
    {"POST",
     "/api/v1/namespaces/default/pods/p/eviction",
     R"({"metadata":{"name":"p"},"deleteOptions":{"dryRun":["All"]}})",
     {}},
};

const char* const kTypes[] = {
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
};

std::string damage(std::string text, Random& random) {
  static const std::string_view pieces[] = {"null", "{}",   "[]", "\"\"", "-1",   "1e400", "{",
                                            "]",    "\\u0", ":",  ",",    "\xff", "true",  "0"};
  const std::uint64_t times = random.below(4);
  for (std::uint64_t i = 0; i < times && !text.empty(); ++i) {
    const std::size_t at = random.below(text.size());
    switch (random.below(4)) {
      case 0:
        text.erase(at, random.below(8) + 1);
        break;
      case 1:
        text.insert(at, pieces[random.below(std::size(pieces))]);
        break;
      case 2:
        text[at] = static_cast<char>(random.below(256));
        break;
      default:
        text.insert(at, text.substr(random.below(text.size()), random.below(20)));
    }
  }
  return text;
}

}  // namespace

TEST_CASE("damaged requests get an answer") {
  Cluster cluster;
  cluster.send("POST", "/api/v1/namespaces/default/serviceaccounts",
               R"({"metadata":{"name":"default"}})");
  cluster.send("POST", "/apis/apps/v1/namespaces/default/deployments", kSamples[3].body);
  SeededRandom random(11);
  for (int i = 0; i < kRounds; ++i) {
    Call call = kSamples[random.below(std::size(kSamples))];
    call.body = damage(std::move(call.body), random);
    call.headers.add("Content-Type", kTypes[random.below(std::size(kTypes))]);
    if (random.below(3) == 0) {
      // Percent escapes must stay whole: refusing broken ones is the HTTP server's business.
      std::string target = damage(call.target, random);
      const auto question = target.find('?');
      const bool whole = http::percent_decode(target.substr(0, question)).has_value() &&
                         (question == std::string::npos ||
                          http::Query::parse(target.substr(question + 1)).has_value());
      if (whole && target.find("watch") == std::string::npos && target.starts_with("/")) {
        call.target = std::move(target);
      }
    }
    INFO(i << ": " << call.method << " " << call.target << "\n" << call.body);
    const Recorder answer = cluster.ask(std::move(call));
    INFO(answer.body.substr(0, 500));
    REQUIRE(answer.status >= 200);
    // 504: a revision still to come.
    REQUIRE((answer.status < 500 || answer.status == 504));
  }
  CHECK(cluster.get("/api/v1/namespaces/default").status == 200);
}

}  // namespace skiff::test
