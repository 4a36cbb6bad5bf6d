#include <catch2/catch_test_macros.hpp>

#include "container_config.hpp"
#include "made.hpp"
#include "support/fake_client.hpp"
#include "support/loop.hpp"

using namespace skiff;
using namespace skiff::kubelet;
using made::yaml;

namespace {

struct Fixture {
  skiff::test::Loop loop;
  skiff::test::FakeClient api{loop.env};
  ObjectWatches objects{loop.env, api};

  // The container's environment as NAME=value lines, or the error.
  std::string of(const std::string& container, EnvironmentSources sources = {}) {
    const auto pod = api::Object::make(made::pod("{nodeName: n1, containers: [" + container + "]}",
                                                 "{labels: {app: web}, annotations: {b: 'x\"y'}}"));
    std::optional<Result<Environment>> got;
    skiff::test::Tasks tasks(loop);
    tasks.group.spawn("make", make(pod, std::move(sources), &objects, &got));
    loop.run(1s);
    REQUIRE(got.has_value());
    if (!*got) return got->error().message;
    std::string out;
    for (const auto& [name, value] : **got) out += name + "=" + value + "\n";
    return out;
  }
  static Task<void> make(ObjectPtr pod, EnvironmentSources sources, ObjectWatches* objects,
                         std::optional<Result<Environment>>* out) {
    out->emplace(co_await make_environment(pod, "a", std::move(sources), objects));
  }
};

}  // namespace

TEST_CASE("references in commands and values") {
  const Environment env = {{"A", "1"}, {"B", "two words"}};
  struct Row {
    const char* text;
    const char* expanded;
  };
  const Row rows[] = {
      {"", ""},          {"plain", "plain"},
      {"$(A)", "1"},     {"x$(A)y$(B)z", "x1ytwo wordsz"},
      {"$$(A)", "$(A)"}, {"$$$(A)", "$1"},
      {"$(C)", "$(C)"},  {"$(A", "$(A"},
      {"$A", "$A"},      {"cost: 5$", "cost: 5$"},
      {"$()", "$()"},    {"$$", "$"},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(expand(row.text, env) == row.expanded);
  }
}

TEST_CASE("variables from the spec, the pod and its containers") {
  Fixture f;
  EnvironmentSources sources;
  sources.pod_ip = "10.42.0.5";
  sources.node_allocatable = {{"cpu", "4"}, {"memory", "8Gi"}};
  struct Row {
    const char* what;
    const char* container;
    const char* result;
  };
  const Row rows[] = {
      {"values and what they refer to",
       "{name: a, env: [{name: X, value: '1'}, {name: W, value: $(X)$(Z)}, {name: Z}]}",
       "X=1\nW=1$(Z)\nZ=\n"},
      {"the last of a name wins", "{name: a, env: [{name: X, value: '1'}, {name: X, value: '2'}]}",
       "X=2\n"},
      {"fields",
       "{name: a, env: [{name: X, valueFrom: {fieldRef: {fieldPath: metadata.name}}},"
       "{name: L, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}},"
       "{name: I, valueFrom: {fieldRef: {fieldPath: status.podIP}}},"
       "{name: H, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]}",
       "X=web\nL=web\nI=10.42.0.5\nH=n1\n"},
      {"an unknown field",
       "{name: a, env: [{name: X, valueFrom: {fieldRef: {fieldPath: spec.nothing}}}]}",
       "unsupported fieldPath: spec.nothing"},
      {"resources, divided and rounded up",
       "{name: a, resources: {limits: {cpu: 1500m}, requests: {memory: 100Mi}}, env: ["
       "{name: C, valueFrom: {resourceFieldRef: {resource: limits.cpu}}},"
       "{name: M, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}},"
       "{name: R, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Gi}}},"
       "{name: B, valueFrom: {resourceFieldRef: {resource: requests.memory}}}]}",
       "C=2\nM=1500\nR=1\nB=104857600\n"},
      {"the node's where there is no limit",
       "{name: a, env: [{name: C, valueFrom: {resourceFieldRef: {resource: limits.cpu}}},"
       "{name: M, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}},"
       "{name: R, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}]}",
       "C=4\nM=8\nR=0\n"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(f.of(row.container, sources) == row.result);
  }
}

TEST_CASE("variables from ConfigMaps and Secrets") {
  Fixture f;
  using namespace client::resources;
  // Without kind, as items of a list come.
  REQUIRE(f.api
              .create_now(kConfigMaps.at("default", "c"),
                          yaml("{metadata: {name: c}, data: {k: v, l: w}}"))
              .has_value());
  REQUIRE(f.api
              .create_now(kSecrets.at("default", "s"),
                          yaml("{metadata: {name: s}, data: {k: c2VjcmV0}}"))
              .has_value());
  struct Row {
    const char* what;
    const char* container;
    const char* result;
  };
  const Row rows[] = {
      {"keys",
       "{name: a, env: [{name: X, valueFrom: {configMapKeyRef: {name: c, key: k}}},"
       "{name: W, valueFrom: {secretKeyRef: {name: s, key: k}}}]}",
       "X=v\nW=secret\n"},
      {"everything, with a prefix",
       "{name: a, envFrom: [{prefix: P_, configMapRef: {name: c}}, {secretRef: {name: s}}],"
       "env: [{name: P_l, value: own}]}",
       "P_k=v\nP_l=own\nk=secret\n"},
      {"no such key", "{name: a, env: [{name: X, valueFrom: {secretKeyRef: {name: s, key: z}}}]}",
       "couldn't find key z in Secret default/s"},
      {"no such key, and no matter",
       "{name: a, env: [{name: X, valueFrom: {secretKeyRef: {name: s, key: z, optional: true}}}]}",
       ""},
      {"no such object, and no matter",
       "{name: a, envFrom: [{configMapRef: {name: z, optional: true}}]}", ""},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(f.of(row.container) == row.result);
  }
}

TEST_CASE("variables of services") {
  Fixture f;
  const auto service = [](const char* ns, const char* name, const char* spec) {
    Value s = Value::object();
    s.member("metadata").set("name", name);
    s.member("metadata").set("namespace", ns);
    s.set("spec", yaml(spec));
    return api::Object::make(std::move(s));
  };
  EnvironmentSources sources;
  sources.services = {
      service("default", "my-db", "{clusterIP: 10.43.0.9, ports: [{name: sql, port: 5432}]}"),
      service("default", "headless", "{clusterIP: None, ports: [{port: 1}]}"),
      service("other", "away", "{clusterIP: 10.43.0.8, ports: [{port: 1}]}"),
  };
  CHECK(f.of("{name: a}", sources) ==
        "MY_DB_SERVICE_HOST=10.43.0.9\nMY_DB_SERVICE_PORT=5432\nMY_DB_SERVICE_PORT_SQL=5432\n"
        "MY_DB_PORT=tcp://10.43.0.9:5432\nMY_DB_PORT_5432_TCP=tcp://10.43.0.9:5432\n"
        "MY_DB_PORT_5432_TCP_PROTO=tcp\nMY_DB_PORT_5432_TCP_PORT=5432\n"
        "MY_DB_PORT_5432_TCP_ADDR=10.43.0.9\n");
  CHECK(f.of("{name: a}], enableServiceLinks: false, x: [", sources).empty());
}

TEST_CASE("labels and annotations as the downward API's files") {
  const auto pod = made::pod("{}", "{labels: {b: '2', a: '1'}, annotations: {k: \"x\\ny\"}}");
  CHECK(downward_field(pod, "metadata.labels", {}).value() == "a=\"1\"\nb=\"2\"");
  CHECK(downward_field(pod, "metadata.annotations", {}).value() == "k=\"x\\ny\"");
}

TEST_CASE("security settings") {
  runtime::Image image;
  struct Row {
    const char* what;
    const char* spec;
    const char* user;
    const char* error;
  };
  const Row rows[] = {
      {"root, where it may be", "{containers: [{name: a}]}", "", ""},
      {"root, where it may not be",
       "{securityContext: {runAsNonRoot: true}, containers: [{name: a}]}", "",
       "container has runAsNonRoot and image will run as root (pod: \"web_default(u1)\", "
       "container: a)"},
      {"a name proves nothing", "{securityContext: {runAsNonRoot: true}, containers: [{name: a}]}",
       "nobody",
       "container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is "
       "non-root (pod: \"web_default(u1)\", container: a)"},
      {"a number does", "{securityContext: {runAsNonRoot: true}, containers: [{name: a}]}", "7:8",
       ""},
      {"the container's own word counts",
       "{securityContext: {runAsNonRoot: true}, containers: "
       "[{name: a, securityContext: {runAsNonRoot: false}}]}",
       "", ""},
      {"told to be root",
       "{containers: [{name: a, securityContext: {runAsNonRoot: true, runAsUser: 0}}]}", "7",
       "container's runAsUser breaks non-root policy (pod: \"web_default(u1)\", container: a)"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    image.config.user = row.user;
    const auto pod = made::pod(row.spec);
    const auto config = container_config(pod, pod["spec"]["containers"][std::size_t{0}], image, {});
    CHECK((config ? std::string() : config.error().message) == row.error);
  }
}

TEST_CASE("from a pod's spec to its containers' configuration") {
  const auto pod = made::pod(
      "{securityContext: {runAsUser: 5, fsGroup: 9, supplementalGroups: [3]}, containers: [{name: "
      "a, "
      "command: [echo, $(X)], resources: {requests: {cpu: 250m}, limits: {cpu: 500m, memory: 1Ki}},"
      "securityContext: {runAsUser: 6, allowPrivilegeEscalation: false, capabilities: "
      "{drop: [ALL], add: [NET_ADMIN]}}}]}");
  const Environment env = {{"X", "1"}};
  const auto config = container_config(pod, pod["spec"]["containers"][std::size_t{0}], {}, env);
  REQUIRE(config.has_value());
  CHECK(config->command == std::vector<std::string>{"echo", "1"});
  CHECK(config->resources.cpu_shares == 256);
  CHECK(config->resources.cpu_quota_us == 50'000);
  CHECK(config->resources.memory_limit_bytes == 1024);
  CHECK(config->resources.oom_score_adj == 999);
  CHECK(config->security.run_as_user == 6);
  CHECK(config->security.supplemental_groups == std::vector<std::int64_t>{3, 9});
  CHECK(config->security.no_new_privileges);
  CHECK(config->security.drop_capabilities == std::vector<std::string>{"ALL"});
}

TEST_CASE("which name servers a pod asks") {
  Options options;
  options.cluster_dns = "10.43.0.10";
  const auto cluster = sandbox_config(made::pod("{}"), options, 0);
  REQUIRE(cluster.dns.has_value());
  CHECK(cluster.dns->servers == std::vector<std::string>{"10.43.0.10"});
  CHECK(cluster.dns->searches == std::vector<std::string>{"default.svc.cluster.local",
                                                          "svc.cluster.local", "cluster.local"});
  CHECK_FALSE(sandbox_config(made::pod("{dnsPolicy: Default}"), options, 0).dns.has_value());
  CHECK_FALSE(sandbox_config(made::pod("{hostNetwork: true}"), options, 0).dns.has_value());
  CHECK(sandbox_config(made::pod("{hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet}"),
                       options, 0)
            .dns.has_value());
  const auto none = sandbox_config(
      made::pod("{dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.7], options: [{name: ndots, "
                "value: '2'}]}}"),
      options, 0);
  REQUIRE(none.dns.has_value());
  CHECK(none.dns->servers == std::vector<std::string>{"192.0.2.7"});
  CHECK(none.dns->options == std::vector<std::string>{"ndots:2"});
}
