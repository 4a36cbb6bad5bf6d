#include <catch2/catch_test_macros.hpp>

#include "made.hpp"

using namespace skiff;
using namespace skiff::kubelet;

namespace {

std::string text_of(const Actions& actions) {
  std::string out;
  const auto word = [&](const std::string& w) { out += (out.empty() ? "" : " ") + w; };
  if (actions.create_sandbox) word("sandbox");
  if (actions.finished) word("finished");
  for (const Kill& k : actions.kill) word("-" + k.name);
  for (const std::string& name : actions.start) word("+" + name);
  return out;
}

// Two containers a and b, init containers i and j, a sidecar s between them.
std::string spec(const std::string& policy, bool init = false) {
  std::string out = "{restartPolicy: " + policy + ", containers: [{name: a}, {name: b}]";
  if (init) out += ", initContainers: [{name: i}, {name: s, restartPolicy: Always}, {name: j}]";
  return out + "}";
}

}  // namespace

TEST_CASE("what to do about a pod next") {
  const std::string always = spec("Always");
  const std::string on_failure = spec("OnFailure");
  const std::string never = spec("Never");
  struct Row {
    const char* what;
    std::string spec;
    const char* seen;
    const char* actions;
  };
  const Row rows[] = {
      {"all containers of a new sandbox", always, "", "+a +b"},
      {"nothing while all run", always, "a=run b=run", ""},
      {"one that was made and not started", always, "a=made b=run", "+a"},
      {"whatever ended, under Always", always, "a=0 b=1", "+a +b"},
      {"what failed, under OnFailure", on_failure, "a=0 b=1", "+b"},
      {"nothing under Never while one runs", never, "a=1 b=run", ""},
      {"one that never ran, under Never", never, "a=1", "+b"},
      {"the end, under OnFailure", on_failure, "a=0 b=0", "finished"},
      {"the end, under Never", never, "a=0 b=7", "finished"},
      {"an unhealthy one", always, "a=sick b=run", "-a"},

      {"init containers one by one", spec("Always", true), "", "+i"},
      {"waiting for an init container", spec("Always", true), "i=run", ""},
      {"then the sidecar", spec("Always", true), "i=0", "+s"},
      {"a sidecar that has not started holds up the rest", spec("Always", true), "i=0 s=starting",
       ""},
      {"then the next init container", spec("Always", true), "i=0 s=run", "+j"},
      {"then the containers", spec("Always", true), "i=0 s=run j=0", "+a +b"},
      {"an init container that failed, again", spec("Always", true), "i=1", "+i"},
      {"again under OnFailure", spec("OnFailure", true), "i=1", "+i"},
      {"for good under Never", spec("Never", true), "i=1", "finished"},
      {"a sidecar that died while init containers run", spec("Never", true), "i=0 s=1 j=run", "+s"},
      {"a sidecar that died later", spec("Never", true), "i=0 s=0 j=0 a=run b=run", "+s"},
      {"an unhealthy sidecar", spec("Never", true), "i=0 s=sick j=0 a=run b=run", "-s"},
      {"the end, sidecar or not", spec("Never", true), "i=0 s=run j=0 a=0 b=1", "finished"},
      {"init containers whose records are gone are not run again", spec("Always", true),
       "s=run a=run b=1", "+b"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(text_of(plan(made::pod(row.spec), made::seen(row.seen))) == row.actions);
  }
}

TEST_CASE("what to do without a sandbox") {
  struct Row {
    const char* what;
    std::string spec;
    const char* seen;
    const char* actions;
  };
  const Row rows[] = {
      {"a new pod", spec("Always"), "", "sandbox"},
      {"its containers died with it", spec("Always"), "a=137 b=137", "sandbox"},
      {"some are to run again", spec("OnFailure"), "a=0 b=137", "sandbox"},
      {"none is to run again", spec("Never"), "a=137 b=137", "finished"},
      {"the pod had ended before", spec("OnFailure"), "a=0 b=0", "finished"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(text_of(plan(made::pod(row.spec), made::seen(row.seen, false))) == row.actions);
  }
}

TEST_CASE("ephemeral containers are nobody's business here") {
  const auto pod =
      made::pod("{containers: [{name: a}], ephemeralContainers: [{name: debug, image: busybox}]}");
  CHECK(text_of(plan(pod, made::seen("a=run"))).empty());
}

TEST_CASE("which class a pod's requests and limits put it in") {
  struct Row {
    const char* what;
    const char* spec;
    const char* qos;
  };
  const Row rows[] = {
      {"nothing", "{containers: [{name: a}]}", "besteffort"},
      {"a request", "{containers: [{resources: {requests: {cpu: '1'}}}]}", "burstable"},
      {"requests of nothing", "{containers: [{resources: {requests: {cpu: '0'}}}]}", "besteffort"},
      {"limits only", "{containers: [{resources: {limits: {cpu: '1', memory: 1Gi}}}]}",
       "guaranteed"},
      {"equal in another spelling",
       "{containers: [{resources: {limits: {cpu: '1', memory: 1Gi}, "
       "requests: {cpu: 1000m, memory: 1024Mi}}}]}",
       "guaranteed"},
      {"unequal",
       "{containers: [{resources: {limits: {cpu: '2', memory: 1Gi}, "
       "requests: {cpu: '1', memory: 1Gi}}}]}",
       "burstable"},
      {"no limit of memory", "{containers: [{resources: {limits: {cpu: '1'}}}]}", "burstable"},
      {"one without any",
       "{containers: [{resources: {limits: {cpu: '1', memory: 1Gi}}}, {name: b}]}", "burstable"},
      {"an init container without any",
       "{containers: [{resources: {limits: {cpu: '1', memory: 1Gi}}}], initContainers: [{}]}",
       "burstable"},
      {"the pod's as a whole",
       "{resources: {limits: {cpu: '1', memory: 1Gi}}, containers: [{name: a}]}", "guaranteed"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(qos_class_of(made::pod(row.spec)) == row.qos);
  }
}
