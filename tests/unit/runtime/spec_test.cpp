#include <sched.h>
#include <sys/mount.h>

#include <catch2/catch_test_macros.hpp>

#include "skiff/linux/security.hpp"
#include "skiff/runtime/executor.hpp"
#include "spec/mount_options.hpp"
#include "spec/oci_config.hpp"
#include "spec/seccomp_json.hpp"
#include "spec/users.hpp"
#include "steps.hpp"

using namespace skiff;
using namespace skiff::runtime;
using api::Value;

namespace {

constexpr const char* passwd =
    "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken "
    "line\nweb:x:101:102:Web:/srv/web:/bin/false\n"
    "odd:x:notanumber:1::\n";
constexpr const char* group = "root:x:0:\nweb:x:102:\nlogs:x:500:web,other\nwheel:x:10:root\n";

struct Fixture {
  Fixture() {
    in.sandbox = &sandbox;
    in.container = &container;
    in.container_id = "cid";
    in.sandbox_dir = "/run/skiff/sandboxes/sid";
    in.netns_path = "/run/skiff/netns/sid";
    in.shim_pid = 50;
    in.hostname = "web-0";
    in.cgroups_path = "/pods/burstable/u/cid";
    container.command = {"/bin/app"};
    context.container_id = "cid";
    context.bundle = "/b";
    context.root = {"/b/rootfs", {"/l1", "/l2"}, "/d/upper", "/d/work"};
    context.cgroup.task_files = {"/cg/memory/x/tasks"};
    context.cgroup_directories = {{"memory", "/cg/memory/x"}};
  }
  Value config() {
    auto made = make_oci_config(in);
    if (!made) FAIL(made.error().message);
    return std::move(*made);
  }
  // The plan as lines: "KIND field field", numbers in decimal.
  std::vector<Step> steps() {
    auto plan = make_builtin_executor()->launch(config(), context);
    if (!plan) FAIL(plan.error().message);
    last = std::move(*plan);
    std::vector<Step> out;
    StepReader reader(last.steps);
    Step step{};
    std::string_view payload;
    while (reader.next(step, payload)) out.push_back(step);
    CHECK(!reader.damaged());
    return out;
  }
  std::string_view payload_of(Step wanted, int index = 0) {
    StepReader reader(last.steps);
    Step step{};
    std::string_view payload;
    while (reader.next(step, payload)) {
      if (step == wanted && index-- == 0) return payload;
    }
    FAIL("no such step");
    return {};
  }
  SandboxConfig sandbox;
  ContainerConfig container;
  OciInputs in;
  LaunchContext context;
  LaunchPlan last;
};

const Value& mount_at(const Value& config, std::string_view target) {
  for (const auto& m : config["mounts"].items()) {
    if (m["destination"].as_string() == target) return m;
  }
  FAIL("no mount at " << target);
  return config;
}

std::string joined(const Value& list) {
  std::string out;
  for (const auto& v : list.items()) out += (out.empty() ? "" : " ") + v.as_string();
  return out;
}

std::ptrdiff_t index_of(const std::vector<Step>& steps, Step s) {
  return std::find(steps.begin(), steps.end(), s) - steps.begin();
}

}  // namespace

TEST_CASE("who a container runs as") {
  struct Row {
    std::optional<std::int64_t> user, run_group;
    const char* image_user;
    std::vector<std::int64_t> supplemental;
    bool strict;
    std::int64_t uid, gid;
    std::vector<std::int64_t> groups;
    const char* home;
  };
  const Row rows[] = {
      {{}, {}, "", {}, false, 0, 0, {0, 10}, "/root"},
      {{}, {}, "web", {}, false, 101, 102, {102, 500}, "/srv/web"},
      {{}, {}, "web", {}, true, 101, 102, {102}, "/srv/web"},
      {{}, {}, "101", {7}, false, 101, 102, {7, 102, 500}, "/srv/web"},
      {{}, {}, "web:root", {}, false, 101, 0, {0, 500}, "/srv/web"},
      {{}, {}, "4000:4001", {}, false, 4000, 4001, {4001}, "/"},
      {{}, {}, "4000", {}, false, 4000, 0, {0}, "/"},
      {101, {}, "root", {}, false, 101, 102, {102, 500}, "/srv/web"},
      {5000, 6000, "web", {1, 1}, false, 5000, 6000, {1, 6000}, "/"},
      {{}, 77, "web", {}, true, 101, 77, {77}, "/srv/web"},
  };
  for (const auto& row : rows) {
    SecurityContext s;
    s.run_as_user = row.user;
    s.run_as_group = row.run_group;
    s.supplemental_groups = row.supplemental;
    s.strict_supplemental_groups = row.strict;
    auto ids = resolve_user(s, row.image_user, passwd, group);
    REQUIRE(ids.has_value());
    CHECK(ids->uid == row.uid);
    CHECK(ids->gid == row.gid);
    CHECK(ids->groups == row.groups);
    CHECK(ids->home == row.home);
  }
  SecurityContext s;
  auto unknown = resolve_user(s, "ghost", passwd, group);
  REQUIRE(unknown.has_error());
  CHECK(unknown.error().message == "unable to find user ghost: no matching entries in passwd file");
  unknown = resolve_user(s, "web:ghosts", passwd, group);
  REQUIRE(unknown.has_error());
  CHECK(unknown.error().message ==
        "unable to find group ghosts: no matching entries in group file");
  CHECK(resolve_user(s, "-5", passwd, group).has_error());
  CHECK(resolve_user(s, "99999999999", passwd, group).has_error());
}

TEST_CASE("command and arguments, from the pod or its image") {
  struct Row {
    std::vector<std::string> command, args, entrypoint, cmd, want;
  };
  const Row rows[] = {
      {{}, {}, {"e"}, {"c"}, {"e", "c"}},
      {{"x"}, {}, {"e"}, {"c"}, {"x"}},
      {{}, {"a"}, {"e"}, {"c"}, {"e", "a"}},
      {{"x"}, {"a"}, {"e"}, {"c"}, {"x", "a"}},
      {{}, {}, {}, {"c"}, {"c"}},
      {{}, {"a"}, {}, {}, {"a"}},
  };
  for (const auto& row : rows) {
    ContainerConfig c;
    c.command = row.command;
    c.args = row.args;
    c.image_config.entrypoint = row.entrypoint;
    c.image_config.cmd = row.cmd;
    CHECK(*effective_command(c) == row.want);
  }
  CHECK(effective_command({}).has_error());
}

TEST_CASE("mount options") {
  struct Row {
    std::vector<const char*> words;
    unsigned long flags;
    std::uint64_t bind_flags;
    const char* data;
  };
  const Row rows[] = {
      {{"nosuid", "noexec", "nodev"},
       MS_NOSUID | MS_NOEXEC | MS_NODEV,
       bind_nosuid | bind_noexec | bind_nodev,
       ""},
      {{"rbind", "ro", "rprivate"},
       MS_BIND | MS_REC | MS_RDONLY,
       bind_recursive | bind_read_only | bind_private,
       ""},
      {{"ro", "rw"}, 0, 0, ""},
      {{"rbind", "rro", "rslave"},
       MS_BIND | MS_REC | MS_RDONLY,
       bind_recursive | bind_read_only | bind_recursive_read_only | bind_slave,
       ""},
      {{"rprivate", "rshared"}, 0, bind_shared, ""},
      {{"mode=755", "strictatime", "size=64k"}, MS_STRICTATIME, 0, "mode=755,size=64k"},
      {{"defaults"}, 0, 0, ""},
  };
  for (const auto& row : rows) {
    Value list = Value::array();
    for (const char* w : row.words) list.push_back(w);
    auto options = parse_mount_options(list.items());
    CHECK(options.flags == row.flags);
    CHECK(options.bind_flags == row.bind_flags);
    CHECK(options.data == row.data);
    CHECK(options.bind == ((row.flags & MS_BIND) != 0));
  }
}

TEST_CASE("the OCI configuration of an ordinary container") {
  Fixture f;
  f.container.image_config.env = {"PATH=/opt/bin", "A=image", "B=image", "broken"};
  f.container.env = {{"A", "pod"}, {"C", "x=y"}};
  f.container.working_dir = "work";
  f.container.rlimits["RLIMIT_NOFILE"] = "10:20";
  f.in.user = {101, 102, {102, 500}, "/srv/web"};
  f.in.mounts = {{"/data/deep", "/v1", "", false, false, Propagation::bidirectional},
                 {"/data", "/v2", "", true, false, Propagation::host_to_container},
                 {"/etc/hosts", "/kubelet/hosts", "", false, false, Propagation::none}};
  Value c = f.config();
  CHECK(c["ociVersion"].as_string() == "1.0.2");
  CHECK(joined(c["process"]["env"]) ==
        "PATH=/opt/bin HOSTNAME=web-0 A=pod B=image C=x=y HOME=/srv/web");
  CHECK(c["process"]["cwd"].as_string() == "/work");
  CHECK(c["process"]["user"]["uid"].as_int() == 101);
  CHECK(c["process"]["user"]["additionalGids"].size() == 2);
  CHECK(c["process"]["rlimits"].items()[0]["hard"].as_int() == 20);
  CHECK(!c["process"]["noNewPrivileges"].as_bool());
  CHECK(joined(mount_at(c, "/data")["options"]) == "rbind rslave ro");
  CHECK(joined(mount_at(c, "/data/deep")["options"]) == "rbind rshared rw");
  CHECK(mount_at(c, "/etc/hosts")["source"].as_string() == "/kubelet/hosts");
  CHECK(mount_at(c, "/etc/resolv.conf")["source"].as_string() == f.in.sandbox_dir + "/resolv.conf");
  CHECK(mount_at(c, "/dev/shm")["source"].as_string() == f.in.sandbox_dir + "/shm");
  std::vector<std::string> order;
  for (const auto& m : c["mounts"].items()) order.push_back(m["destination"].as_string());
  auto place = [&](const char* p) { return std::find(order.begin(), order.end(), p); };
  CHECK(place("/proc") < place("/data"));
  CHECK(place("/data") < place("/data/deep"));
  std::string namespaces;
  for (const auto& n : c["linux"]["namespaces"].items()) {
    namespaces += n["type"].as_string() + "=" + n["path"].as_string() + " ";
  }
  CHECK(namespaces ==
        "mount= cgroup= pid= ipc=/proc/50/ns/ipc uts=/proc/50/ns/uts "
        "network=/run/skiff/netns/sid ");
  CHECK(c["linux"]["maskedPaths"].size() > 5);
  CHECK(c["linux"]["resources"]["devices"].items()[0]["allow"].as_bool() == false);
}

TEST_CASE("the OCI configuration of containers that ask for more") {
  Fixture f;
  SECTION("privileged") {
    f.container.security.privileged = true;
    f.container.security.no_new_privileges = true;  // contradicts: privileged wins
    Value c = f.config();
    CHECK(!c["process"]["noNewPrivileges"].as_bool());
    CHECK(!c["linux"].has("maskedPaths"));
    CHECK(joined(mount_at(c, "/sys")["options"]) == "nosuid noexec nodev rw");
    CHECK(c["linux"]["resources"]["devices"].size() == 1);
    CHECK(c["linux"]["resources"]["devices"].items()[0]["allow"].as_bool());
  }
  SECTION("the host's namespaces") {
    f.sandbox.host_network = f.sandbox.host_pid = f.sandbox.host_ipc = true;
    Value c = f.config();
    CHECK(c["linux"]["namespaces"].size() == 2);
    CHECK(mount_at(c, "/dev/shm")["source"].as_string() == "/dev/shm");
  }
  SECTION("the pod's processes") {
    f.in.pause_pid = 60;
    CHECK(f.config()["linux"]["namespaces"].items()[2]["path"].as_string() == "/proc/60/ns/pid");
  }
  SECTION("unmasked, limited") {
    f.container.security.masked_paths = std::vector<std::string>{};
    f.container.resources.memory_limit_bytes = 1024;
    f.container.resources.cpu_quota_us = 5;
    f.container.resources.pids_limit = 9;
    Value c = f.config();
    CHECK(c["linux"]["maskedPaths"].empty());
    CHECK(c["linux"]["resources"]["memory"]["limit"].as_int() == 1024);
    CHECK(c["linux"]["resources"]["cpu"]["period"].as_int() == 100'000);
    CHECK(c["linux"]["resources"]["pids"]["limit"].as_int() == 9);
  }
  SECTION("nonsense") {
    f.container.rlimits["RLIMIT_NOFILE"] = "many";
    CHECK(make_oci_config(f.in).has_error());
    f.container.rlimits.clear();
    f.container.security.add_capabilities = {"WINGS"};
    CHECK(make_oci_config(f.in).has_error());
  }
}

TEST_CASE("steps come in an order that is safe") {
  Fixture f;
  f.container.security.read_only_root = true;
  f.in.seccomp = seccomp_to_json(sys::default_seccomp_profile(sys::default_capabilities()));
  f.in.mounts = {{"/vol", "/host/vol", "", false, false, Propagation::none}};
  f.context.canonical_sources = {"/host/vol"};
  auto steps = f.steps();
  CHECK(f.last.clone_flags == (CLONE_NEWNS | CLONE_NEWPID));
  CHECK(steps.front() == Step::join_cgroup);
  CHECK(steps.back() == Step::exec);
  // The cgroup before its namespace, sources before the pivot, targets after it.
  CHECK(index_of(steps, Step::join_cgroup) < index_of(steps, Step::unshare));
  CHECK(index_of(steps, Step::open_bind) < index_of(steps, Step::propagation));
  CHECK(index_of(steps, Step::propagation) < index_of(steps, Step::root_overlay));
  CHECK(index_of(steps, Step::root_overlay) < index_of(steps, Step::pivot));
  CHECK(index_of(steps, Step::pivot) < index_of(steps, Step::mount));
  CHECK(index_of(steps, Step::pivot) < index_of(steps, Step::place_bind));
  // The working directory is made before the root is closed to writing.
  CHECK(index_of(steps, Step::directory) < index_of(steps, Step::read_only_root));
  // Without no_new_privs the filter goes in while there is privilege.
  CHECK(index_of(steps, Step::seccomp) < index_of(steps, Step::credentials));
  CHECK(index_of(steps, Step::credentials) < index_of(steps, Step::capabilities));

  StepFields overlay(f.payload_of(Step::root_overlay));
  CHECK(overlay.view() == "/b/rootfs");
  CHECK(overlay.view() == "lowerdir=/l2:/l1,upperdir=/d/upper,workdir=/d/work,volatile");
  bool guarded = false;
  StepReader reader(f.last.steps);
  Step step{};
  std::string_view payload;
  while (reader.next(step, payload)) {
    if (step != Step::open_bind) continue;
    StepFields fields(payload);
    fields.number();
    std::string_view source = fields.view();
    std::uint64_t flags = fields.number();
    CHECK((flags & (bind_private | bind_slave | bind_shared)) != 0);
    if (source == "/host/vol") guarded = (flags & bind_no_symlinks) != 0;
  }
  CHECK(guarded);

  f.container.security.no_new_privileges = true;
  steps = f.steps();
  CHECK(index_of(steps, Step::capabilities) < index_of(steps, Step::no_new_privileges));
  CHECK(index_of(steps, Step::no_new_privileges) < index_of(steps, Step::seccomp));
  CHECK(index_of(steps, Step::seccomp) == std::ssize(steps) - 2);
}

TEST_CASE("roots of other shapes") {
  Fixture f;
  SECTION("a plain directory") {
    f.context.root = {"/plain", {}, "", ""};
    auto steps = f.steps();
    CHECK(index_of(steps, Step::root_directory) < std::ssize(steps));
    CHECK(index_of(steps, Step::root_overlay) == std::ssize(steps));
  }
  SECTION("names that overlay's options would misread") {
    f.context.root.lower_dirs = {"/a:b", "/c,d"};
    f.steps();
    StepFields overlay(f.payload_of(Step::root_overlay));
    overlay.view();
    CHECK(overlay.view().starts_with("lowerdir=/c\\,d:/a\\:b,"));
  }
  SECTION("more layers than a page of options holds") {
    f.context.root.lower_dirs.assign(200, "/var/lib/skiff/images/layers/0123456789abcdef");
    auto steps = f.steps();
    CHECK(index_of(steps, Step::root_layers) < std::ssize(steps));
  }
}

TEST_CASE("what a configuration must not say") {
  Fixture f;
  auto executor = make_builtin_executor();
  auto refused = [&](const char* section, const char* key, Value v) {
    Value c = f.config();
    c.member(section).set(key, std::move(v));
    auto plan = executor->launch(c, f.context);
    return plan.has_error() && plan.error().code == Code::invalid;
  };
  CHECK(refused("linux", "namespaces", Value::array()));
  CHECK(refused("linux", "namespaces", Value::array({Value::object({{"type", "astral"}})})));
  CHECK(refused("process", "args", Value::array()));
  CHECK(refused("process", "rlimits",
                Value::array({Value::object({{"type", "RLIMIT_JOY"}, {"soft", 1}, {"hard", 1}})})));
  CHECK(refused("linux", "seccomp", Value::object({{"defaultAction", "SCMP_ACT_SING"}})));
}

TEST_CASE("a further process is the first one's like") {
  Fixture f;
  f.in.seccomp = seccomp_to_json(sys::default_seccomp_profile(sys::default_capabilities()));
  Value c = f.config();
  Value p = make_exec_process(c, {"ls", "-l"}, true);
  CHECK(joined(p["args"]) == "ls -l");
  CHECK(p["terminal"].as_bool());
  CHECK(joined(p["env"]).ends_with("TERM=xterm"));
  auto plan = make_builtin_executor()->exec(c, p, f.context);
  REQUIRE(plan.has_value());
  std::vector<Step> steps;
  StepReader reader(plan->steps);
  Step step{};
  std::string_view payload;
  while (reader.next(step, payload)) steps.push_back(step);
  CHECK(steps.front() == Step::join_cgroup);
  CHECK(index_of(steps, Step::join_cgroup) < index_of(steps, Step::join_root));
  CHECK(index_of(steps, Step::join_root) < index_of(steps, Step::terminal));
  CHECK(index_of(steps, Step::seccomp) < std::ssize(steps));
  CHECK(index_of(steps, Step::pivot) == std::ssize(steps));
  CHECK(steps.back() == Step::exec);
}

TEST_CASE("seccomp profiles as JSON") {
  auto profile = sys::default_seccomp_profile(sys::default_capabilities());
  auto again = seccomp_from_json(seccomp_to_json(profile), ~sys::CapabilitySet{0});
  REQUIRE(again.has_value());
  CHECK(*sys::compile_seccomp(profile) != nullptr);
  CHECK(**sys::compile_seccomp(profile) == **sys::compile_seccomp(*again));
  auto conditional = api::parse_json(R"({"defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
      {"names": ["a"], "action": "SCMP_ACT_ALLOW"},
      {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
      {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
      {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["vax"]}},
      {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}]})");
  auto names = [&](sys::CapabilitySet caps) {
    std::string out;
    auto read = seccomp_from_json(*conditional, caps);
    for (const auto& r : read->rules) out += r.names[0];
    return out;
  };
  CHECK(names(0) == "ace");
  CHECK(names(~sys::CapabilitySet{0}) == "abe");
  CHECK(seccomp_from_json(Value::object(), 0).has_error());
}
