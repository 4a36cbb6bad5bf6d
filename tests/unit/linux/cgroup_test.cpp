#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>

#include "cgroup_body.hpp"
#include "fake_system.hpp"

using namespace skiff;
using namespace skiff::sys;

namespace {

constexpr const char* v1_mounts =
    "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "34 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
    "35 30 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
    "36 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "37 30 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
constexpr const char* v2_mount = "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

std::string shape(const CgroupLayout& layout) {
  std::string out;
  for (const auto& h : layout.hierarchies) {
    out += h.mount_point + "[";
    for (const auto& c : h.controllers) out += (out.ends_with('[') ? "" : ",") + c;
    out += "]" + h.own_path + (h.unified ? " v2" : "") + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("where controllers live") {
  struct Row {
    const char* mounts;
    const char* self;
    const char* v2_controllers;
    const char* want;
  };
  const Row rows[] = {
      // Hybrid, nothing in v2, at the root everywhere but in memory.
      {v1_mounts,
       "8:memory:/session/1\n7:cpu,cpuacct:/\n6:pids:/\n5:devices:/\n1:name=systemd:/\n0::/\n",
       "hugetlb\n",
       "/sys/fs/cgroup/cpu,cpuacct[cpu,cpuacct]\n/sys/fs/cgroup/memory[memory]/session/1\n"
       "/sys/fs/cgroup/pids[pids]\n/sys/fs/cgroup/devices[devices]\n"},
      // Hybrid under systemd: its own hierarchies count, or it would kill shims with the service.
      {v1_mounts,
       "8:memory:/\n7:cpu,cpuacct:/\n1:name=systemd:/system.slice/skiff.service\n"
       "0::/system.slice/skiff.service\n",
       "memory",
       "/sys/fs/cgroup/cpu,cpuacct[cpu,cpuacct]\n/sys/fs/cgroup/memory[memory]\n"
       "/sys/fs/cgroup/pids[pids]\n/sys/fs/cgroup/devices[devices]\n"
       "/sys/fs/cgroup/systemd[]/system.slice/skiff.service\n"
       "/sys/fs/cgroup/unified[]/system.slice/skiff.service v2\n"},
      {v2_mount, "0::/system.slice/skiff.service\n", "cpuset cpu io memory hugetlb pids\n",
       "/sys/fs/cgroup[cpu,memory,pids]/system.slice/skiff.service v2\n"},
      // In a container without a cgroup namespace: the mount shows a part of the hierarchy.
      {"31 25 0:27 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/abc\n",
       "cpu memory pids", "/sys/fs/cgroup[cpu,memory,pids] v2\n"},
      {"", "", "", ""},
      {"garbage\n1 2\n", "x\n::\n", "", ""},
  };
  for (const auto& row : rows) {
    CHECK(shape(parse_cgroup_layout(row.mounts, row.self, row.v2_controllers)) == row.want);
  }
}

TEST_CASE("groups lie below skiff's own, or beside a service's") {
  FakeSystem system;
  struct Row {
    const char* own;
    const char* parent;
    const char* root;
  };
  const Row rows[] = {{"", "", "/cg/skiff"},
                      {"/session/1", "", "/cg/session/1/skiff"},
                      {"/system.slice/skiff.service", "", "/cg/skiff"},
                      {"/user.slice/session-2.scope", "", "/cg/skiff"},
                      {"/session/1", "/top", "/cg/top"},
                      {"/session/1", "below", "/cg/session/1/below"}};
  for (const auto& row : rows) {
    CgroupLayout layout;
    layout.hierarchies.push_back({"/cg", {"memory"}, row.own, false, "memory"});
    CgroupsBody cgroups(system, layout, row.parent);
    CHECK(cgroups.entry("x").task_files ==
          std::vector<std::string>{row.root + std::string("/x/tasks")});
  }
}

namespace {

struct V1 {
  V1() {
    for (const char* c : {"cpu", "memory", "pids", "devices"}) {
      std::string mount = std::string("/cg/") + c;
      layout.hierarchies.push_back({mount, {c}, "", false, c});
      system.directories.insert(mount);
    }
    system.new_directory_files = {{"cpu.shares", ""},
                                  {"cpu.cfs_quota_us", ""},
                                  {"cpu.cfs_period_us", ""},
                                  {"memory.limit_in_bytes", ""},
                                  {"memory.memsw.limit_in_bytes", ""},
                                  {"pids.max", ""},
                                  {"devices.deny", ""},
                                  {"devices.allow", ""},
                                  {"cgroup.procs", ""}};
  }
  std::string file(const std::string& name) {
    auto slash = name.find('/');
    return system.files["/cg/" + name.substr(0, slash) + "/skiff/pods/a" + name.substr(slash)];
  }
  FakeSystem system;
  CgroupLayout layout;
};

struct V2 {
  V2() {
    layout.hierarchies.push_back({"/cg", {"cpu", "memory", "pids"}, "", true, "cgroup"});
    system.directories.insert("/cg");
    system.files["/cg/cgroup.subtree_control"] = "";
    system.files["/cg/cgroup.procs"] = "";
    system.new_directory_files = {{"cgroup.subtree_control", ""},
                                  {"cgroup.controllers", ""},
                                  {"cpu.weight", ""},
                                  {"cpu.max", ""},
                                  {"memory.max", ""},
                                  {"memory.swap.max", ""},
                                  {"memory.oom.group", ""},
                                  {"memory.min", ""},
                                  {"pids.max", ""},
                                  {"cgroup.procs", ""},
                                  {"cgroup.kill", ""},
                                  {"cgroup.freeze", ""}};
  }
  FakeSystem system;
  CgroupLayout layout;
};

}  // namespace

TEST_CASE("limits in version 1") {
  V1 v;
  CgroupsBody cgroups(v.system, v.layout, "/skiff");
  REQUIRE(cgroups.create("pods/a").has_value());
  REQUIRE(cgroups.create("pods/a").has_value());
  CgroupLimits limits;
  limits.cpu_shares = 512;
  limits.cpu_quota_us = 50'000;
  limits.memory_bytes = 1 << 20;
  limits.pids = 10;
  REQUIRE(cgroups.set_limits("pods/a", limits).has_value());
  CHECK(v.file("cpu/cpu.shares") == "512");
  CHECK(v.file("cpu/cpu.cfs_quota_us") == "50000");
  CHECK(v.file("memory/memory.limit_in_bytes") == "1048576");
  CHECK(v.file("memory/memory.memsw.limit_in_bytes") == "1048576");
  CHECK(v.file("pids/pids.max") == "10");

  // Raised past memory+swap, the kernel refuses the first write: the other limit goes first.
  std::string memory = "/cg/memory/skiff/pods/a/memory.limit_in_bytes";
  v.system.write_errors[memory] = {-EINVAL};
  v.system.calls.clear();
  limits = {};
  limits.memory_bytes = 2 << 20;
  REQUIRE(cgroups.set_limits("pods/a", limits).has_value());
  CHECK(v.system.calls.size() == 4);
  CHECK(v.file("memory/memory.limit_in_bytes") == "2097152");
  v.system.write_errors[memory] = {-EBUSY};
  auto busy = cgroups.set_limits("pods/a", limits);
  REQUIRE(busy.has_error());
  CHECK(busy.error().code == Code::conflict);
  limits.memory_bytes = -1;
  limits.pids = -1;
  REQUIRE(cgroups.set_limits("pods/a", limits).has_value());
  CHECK(v.file("memory/memory.limit_in_bytes") == "-1");
  CHECK(v.file("pids/pids.max") == "max");

  v.system.calls.clear();
  REQUIRE(cgroups.set_devices("pods/a", {{false, 'a', -1, -1, "rwm"}, {true, 'c', 1, -1, "rw"}})
              .has_value());
  CHECK(v.system.calls ==
        std::vector<std::string>{"write /cg/devices/skiff/pods/a/devices.deny a",
                                 "write /cg/devices/skiff/pods/a/devices.deny a",
                                 "write /cg/devices/skiff/pods/a/devices.allow c 1:* rw"});
  REQUIRE(cgroups.remove("pods").has_value());
  REQUIRE(cgroups.remove("pods").has_value());
  CHECK(v.system.directories.count("/cg/memory/skiff/pods") == 0);
  CHECK(v.system.directories.count("/cg/memory/skiff") == 1);
}

TEST_CASE("limits in version 2") {
  V2 v;
  CgroupsBody cgroups(v.system, v.layout, "/skiff");
  REQUIRE(cgroups.create("pods/a").has_value());
  // Handed down on each level above the group, not in it.
  CHECK(v.system.files["/cg/cgroup.subtree_control"] == "+cpu +memory +pids");
  CHECK(v.system.files["/cg/skiff/cgroup.subtree_control"] == "+cpu +memory +pids");
  CHECK(v.system.files["/cg/skiff/pods/cgroup.subtree_control"] == "+cpu +memory +pids");
  CHECK(v.system.files["/cg/skiff/pods/a/cgroup.subtree_control"].empty());
  struct Row {
    std::uint64_t shares;
    const char* weight;
  };
  for (const auto& row : {Row{2, "1"}, Row{1024, "39"}, Row{262144, "10000"}, Row{1, "1"}}) {
    CgroupLimits limits;
    limits.cpu_shares = row.shares;
    REQUIRE(cgroups.set_limits("pods/a", limits).has_value());
    CHECK(v.system.files["/cg/skiff/pods/a/cpu.weight"] == row.weight);
  }
  CgroupLimits limits;
  limits.cpu_quota_us = -1;
  limits.memory_bytes = 4096;
  limits.memory_min_bytes = 1024;
  REQUIRE(cgroups.set_limits("pods/a", limits).has_value());
  CHECK(v.system.files["/cg/skiff/pods/a/cpu.max"] == "max 100000");
  CHECK(v.system.files["/cg/skiff/pods/a/memory.max"] == "4096");
  CHECK(v.system.files["/cg/skiff/pods/a/memory.swap.max"] == "0");
  CHECK(v.system.files["/cg/skiff/pods/a/memory.oom.group"] == "1");
  CHECK(v.system.files["/cg/skiff/pods/a/memory.min"] == "1024");
  auto entry = cgroups.entry("pods/a");
  CHECK(entry.task_files.empty());
  CHECK(entry.unified_directory == "/cg/skiff/pods/a");
  CHECK(entry.oom_file == "/cg/skiff/pods/a/memory.events");
  CHECK(cgroups.directories("pods/a").front().first.empty());
}

TEST_CASE("processes in the way of version 2's rule move to a leaf") {
  V2 v;
  v.system.files["/cg/cgroup.procs"] = "1\n77\n";
  v.system.write_errors["/cg/cgroup.subtree_control"] = {-EBUSY};
  CgroupsBody cgroups(v.system, v.layout, "skiff");
  REQUIRE(cgroups.create("pods/a").has_value());
  auto& calls = v.system.calls;
  auto at = [&](const std::string& c) { return std::find(calls.begin(), calls.end(), c); };
  CHECK(at("write /cg/skiff-init/cgroup.procs 1") != calls.end());
  CHECK(at("write /cg/skiff-init/cgroup.procs 77") != calls.end());
  CHECK(v.system.files["/cg/cgroup.subtree_control"] == "+cpu +memory +pids");
}

TEST_CASE("statistics") {
  V1 one;
  one.layout.hierarchies.push_back({"/cg/cpuacct", {"cpuacct"}, "", false, "cpuacct"});
  CgroupsBody v1(one.system, one.layout, "/skiff");
  one.system.files["/cg/cpuacct/skiff/g/cpuacct.usage"] = "123456789\n";
  one.system.files["/cg/memory/skiff/g/memory.usage_in_bytes"] = "5000\n";
  one.system.files["/cg/memory/skiff/g/memory.limit_in_bytes"] = "9223372036854771712\n";
  one.system.files["/cg/memory/skiff/g/memory.stat"] =
      "inactive_file 1\ntotal_inactive_file 2000\ntotal_rss 1500\ntotal_pgfault 7\n"
      "total_pgmajfault 2\n";
  one.system.files["/cg/memory/skiff/g/memory.oom_control"] =
      "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
  one.system.files["/cg/pids/skiff/g/pids.current"] = "4\n";
  auto s = v1.stats("g");
  REQUIRE(s.has_value());
  CHECK(s->cpu_nanoseconds == 123456789);
  CHECK(s->memory_working_set == 3000);
  CHECK(s->memory_rss == 1500);
  CHECK(s->memory_limit == 0);
  CHECK(s->page_faults == 7);
  CHECK(s->major_page_faults == 2);
  CHECK(s->oom_kills == 3);
  CHECK(s->processes == 4);
  CHECK(v1.stats("absent").has_error());

  V2 two;
  CgroupsBody v2(two.system, two.layout, "/skiff");
  two.system.files["/cg/skiff/g/cpu.stat"] = "usage_usec 2500\nuser_usec 1\n";
  two.system.files["/cg/skiff/g/memory.current"] = "5000\n";
  two.system.files["/cg/skiff/g/memory.max"] = "max\n";
  two.system.files["/cg/skiff/g/memory.stat"] = "anon 700\nfile 2\ninactive_file 6000\n";
  two.system.files["/cg/skiff/g/memory.events"] = "low 0\noom 1\noom_kill 1\n";
  s = v2.stats("g");
  REQUIRE(s.has_value());
  CHECK(s->cpu_nanoseconds == 2'500'000);
  CHECK(s->memory_working_set == 0);
  CHECK(s->memory_rss == 700);
  CHECK(s->memory_limit == 0);
  CHECK(s->oom_kills == 1);
}

TEST_CASE("killing goes on until nobody is left") {
  V1 v;
  CgroupsBody cgroups(v.system, v.layout, "/skiff");
  REQUIRE(cgroups.create("pods/a/b").has_value());
  auto& procs = v.system.files["/cg/memory/skiff/pods/a/b/cgroup.procs"];
  procs = "10\n11\n";
  v.system.on_kill = [&](pid_t pid) {
    if (pid == 10) procs = "12\n";  // it forked meanwhile
    if (pid == 12) procs.clear();
  };
  REQUIRE(cgroups.kill("pods/a").has_value());
  CHECK(cgroups.processes("pods")->empty());
  CHECK(std::find(v.system.calls.begin(), v.system.calls.end(), "kill 12 9") !=
        v.system.calls.end());
}

namespace {

// Runs a device program as the kernel would: what it says to one request.
bool allowed(const std::vector<std::uint64_t>& program, std::uint32_t type, std::uint32_t access,
             std::uint32_t major, std::uint32_t minor) {
  const std::uint32_t context[3] = {type | access << 16U, major, minor};
  std::uint64_t r[11] = {};
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    std::uint64_t i = program[pc];
    unsigned code = i & 0xffU;
    unsigned dst = (i >> 8U) & 15U;
    unsigned src = (i >> 12U) & 15U;
    auto offset = static_cast<std::int16_t>(i >> 16U);
    auto imm = static_cast<std::int32_t>(i >> 32U);
    switch (code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        r[dst] = context[offset / 4];
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        r[dst] = static_cast<std::uint32_t>(r[dst]) & static_cast<std::uint32_t>(imm);
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        r[dst] = static_cast<std::uint32_t>(r[dst]) >> imm;
        break;
      case BPF_ALU | BPF_MOV | BPF_X:
        r[dst] = static_cast<std::uint32_t>(r[src]);
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        r[dst] = static_cast<std::uint64_t>(imm);
        break;
      case BPF_JMP | BPF_JNE | BPF_K:
        if (r[dst] != static_cast<std::uint64_t>(imm)) pc += static_cast<std::size_t>(offset);
        break;
      case BPF_JMP | BPF_EXIT:
        return r[0] != 0;
      default:
        FAIL("unknown instruction " << code);
    }
  }
  FAIL("ran past the end");
  return false;
}

constexpr std::uint32_t block = BPF_DEVCG_DEV_BLOCK, character = BPF_DEVCG_DEV_CHAR;
constexpr std::uint32_t make = BPF_DEVCG_ACC_MKNOD, read_it = BPF_DEVCG_ACC_READ,
                        write_it = BPF_DEVCG_ACC_WRITE;

const std::vector<DeviceRule> container_rules = {
    {false, 'a', -1, -1, "rwm"}, {true, 'c', -1, -1, "m"},    {true, 'b', -1, -1, "m"},
    {true, 'c', 1, 5, "rwm"},    {true, 'c', 136, -1, "rwm"}, {true, 'b', 8, 1, "r"}};

}  // namespace

TEST_CASE("the device filter decides as devices.allow would") {
  auto program = device_program(container_rules);
  CHECK(allowed(program, character, read_it | write_it, 1, 5));
  CHECK(!allowed(program, character, read_it, 1, 6));
  CHECK(allowed(program, character, make, 1, 6));
  CHECK(!allowed(program, character, make | read_it, 1, 6));
  CHECK(allowed(program, character, read_it, 136, 42));
  CHECK(!allowed(program, block, read_it, 136, 42));
  CHECK(allowed(program, block, read_it, 8, 1));
  CHECK(!allowed(program, block, write_it, 8, 1));
  CHECK(!allowed(program, block, read_it | write_it, 8, 1));
  auto all = device_program({{true, 'a', -1, -1, "rwm"}});
  CHECK(allowed(all, block, read_it | write_it | make, 8, 0));
  CHECK(!allowed(device_program({}), character, read_it, 1, 3));
  // The last rule that matches wins.
  auto revoked = device_program({{true, 'c', 1, 5, "rwm"}, {false, 'c', 1, 5, "w"}});
  CHECK(allowed(revoked, character, read_it, 1, 5));
  CHECK(!allowed(revoked, character, write_it, 1, 5));
}

TEST_CASE("version 2 for real: birth in a group, the device filter, kill and removal") {
  std::string text;
  if (::geteuid() != 0) SKIP("takes root");
  REQUIRE(real_system().read_file("/proc/self/mountinfo", text, 8U << 20U) >= 0);
  std::string mount;
  for (const auto& m : parse_mountinfo(text)) {
    if (m.type == "cgroup2") mount = m.mount_point;
  }
  if (mount.empty()) SKIP("cgroup2 is not mounted");
  CgroupLayout layout;
  layout.hierarchies.push_back({mount, {}, "", true, "unified"});
  CgroupsBody cgroups(real_system(), layout, "/skiff-unit-" + std::to_string(::getpid()));
  REQUIRE(cgroups.create("a/b").has_value());
  std::string group = mount + "/skiff-unit-" + std::to_string(::getpid()) + "/a/b";
  auto filtered = cgroups.set_devices("a/b", container_rules);
  if (!filtered) {
    (void)cgroups.remove("");
    FAIL(filtered.error().message);
  }
  int fd = ::open(cgroups.entry("a/b").unified_directory.c_str(), O_PATH | O_CLOEXEC);
  REQUIRE(fd >= 0);
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  pid_t pid = real_system().fork_into(0, fd, nullptr);
  if (pid == 0) {
    char zero = ::open("/dev/zero", O_RDONLY) >= 0 ? 'y' : 'n';
    char full = ::open("/dev/full", O_RDONLY) >= 0 ? 'y' : 'n';
    (void)!::write(pipe[1], &zero, 1);
    (void)!::write(pipe[1], &full, 1);
    ::pause();
    ::_exit(0);
  }
  ::close(fd);
  REQUIRE(pid > 0);
  char answers[2] = {};
  CHECK(::read(pipe[0], answers, 1) == 1);
  CHECK(::read(pipe[0], answers + 1, 1) == 1);
  CHECK(answers[0] == 'y');
  CHECK(answers[1] == 'n');
  CHECK(*cgroups.processes("") == std::vector<pid_t>{pid});
  CHECK(cgroups.freeze("a", true).has_value());
  CHECK(cgroups.freeze("a", false).has_value());
  std::thread reaper([pid] { ::waitpid(pid, nullptr, 0); });
  CHECK(cgroups.kill("a").has_value());
  reaper.join();
  CHECK(cgroups.processes("")->empty());
  CHECK(cgroups.remove("").has_value());
  CHECK(::access(group.c_str(), F_OK) != 0);
  ::close(pipe[0]);
  ::close(pipe[1]);
}
