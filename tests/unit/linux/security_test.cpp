#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>

#include "skiff/linux/security.hpp"
#include "skiff/linux/system.hpp"

using namespace skiff;
using namespace skiff::sys;

namespace {

CapabilitySet caps(std::initializer_list<const char*> names) {
  CapabilitySet set = 0;
  for (const char* n : names)
    set |= CapabilitySet{1} << static_cast<unsigned>(*capability_number(n));
  return set;
}

// The kernel's interpreter for seccomp filters, as far as libseccomp's programs go.
std::uint32_t verdict(const std::vector<std::uint64_t>& program, const seccomp_data& data) {
  auto* bytes = reinterpret_cast<const char*>(&data);
  std::uint32_t a = 0;
  std::uint32_t memory[16] = {};
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    sock_filter f;
    std::memcpy(&f, &program[pc], sizeof f);
    auto jump = [&](bool yes) { pc += yes ? f.jt : f.jf; };
    switch (f.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&a, bytes + f.k, sizeof a);
        break;
      case BPF_LD | BPF_MEM:
        a = memory[f.k];
        break;
      case BPF_ST:
        memory[f.k] = a;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= f.k;
        break;
      case BPF_JMP | BPF_JA:
        pc += f.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        jump(a == f.k);
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        jump(a >= f.k);
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        jump(a > f.k);
        break;
      case BPF_RET | BPF_K:
        return f.k;
      default:
        FAIL("unknown instruction " << f.code);
    }
  }
  FAIL("ran past the end");
  return 0;
}

#if defined(__x86_64__)
constexpr std::uint32_t native_arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t native_arch = AUDIT_ARCH_AARCH64;
#endif

std::uint32_t ask(const SeccompProgram& program, int number, std::uint64_t arg0 = 0) {
  seccomp_data data{};
  data.nr = number;
  data.arch = native_arch;
  data.args[0] = arg0;
  return verdict(*program, data);
}

constexpr std::uint32_t denied(int error) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
}

}  // namespace

TEST_CASE("capabilities by name") {
  CHECK(capability_number("NET_ADMIN") == 12);
  CHECK(capability_number("cap_net_admin") == 12);
  CHECK(capability_number("CAP_CHOWN") == 0);
  CHECK(!capability_number("CAP_NOPE"));
  CHECK(!capability_number(""));
  CHECK(capability_name(21) == "CAP_SYS_ADMIN");
  CHECK(capability_name(-1).empty());
  CHECK(capability_name(99).empty());
  CHECK(default_capabilities() == 0xa80425fbULL);
}

TEST_CASE("added and dropped capabilities") {
  CapabilitySet base = caps({"CHOWN", "KILL"});
  struct Row {
    std::vector<std::string> add, drop;
    CapabilitySet want;
  };
  const Row rows[] = {
      {{}, {}, base},
      {{"NET_ADMIN"}, {}, base | caps({"NET_ADMIN"})},
      {{}, {"KILL"}, caps({"CHOWN"})},
      {{}, {"ALL"}, 0},
      {{"KILL"}, {"ALL"}, caps({"KILL"})},
      {{"all"}, {}, all_capabilities()},
      {{"ALL"}, {"SYS_ADMIN"}, all_capabilities() & ~caps({"SYS_ADMIN"})},
      {{"KILL"}, {"KILL"}, base},
  };
  for (const auto& row : rows) CHECK(*adjust_capabilities(base, row.add, row.drop) == row.want);
  auto bad = adjust_capabilities(base, {"FLY"}, {});
  REQUIRE(bad.has_error());
  CHECK(bad.error().message == "unknown capability \"FLY\"");
}

TEST_CASE("the default filter lets programs be and walls off the kernel") {
  auto program = *compile_seccomp(default_seccomp_profile(default_capabilities()));
  for (int allowed : {SYS_read, SYS_openat, SYS_execve, SYS_mmap, SYS_futex, SYS_epoll_pwait,
                      SYS_getrandom, SYS_statx, SYS_prctl, SYS_setresuid, SYS_ptrace, SYS_chroot}) {
    CHECK(ask(program, allowed) == SECCOMP_RET_ALLOW);
  }
  for (int refused :
       {SYS_mount, SYS_umount2, SYS_bpf, SYS_init_module, SYS_kexec_load, SYS_setns, SYS_unshare,
        SYS_keyctl, SYS_add_key, SYS_reboot, SYS_swapon, SYS_io_uring_setup, SYS_perf_event_open,
        SYS_userfaultfd, SYS_pivot_root, SYS_settimeofday}) {
    CHECK(ask(program, refused) == denied(EPERM));
  }
  CHECK(ask(program, SYS_clone, 0x11) == SECCOMP_RET_ALLOW);
  CHECK(ask(program, SYS_clone, 0x10000000) == denied(EPERM));  // CLONE_NEWUSER
  CHECK(ask(program, SYS_clone3) == denied(ENOSYS));
  CHECK(ask(program, SYS_personality, 0xffffffff) == SECCOMP_RET_ALLOW);
  CHECK(ask(program, SYS_personality, 0x0400000) == denied(EPERM));
  CHECK(ask(program, SYS_socket, 2) == SECCOMP_RET_ALLOW);
  CHECK(ask(program, SYS_socket, 40) == denied(EPERM));
  CHECK(ask(program, 100000) == denied(EPERM));
}

TEST_CASE("capabilities open what they are for") {
  auto admin = *compile_seccomp(default_seccomp_profile(caps({"SYS_ADMIN"})));
  for (int n : {SYS_mount, SYS_unshare, SYS_setns, SYS_clone3}) {
    CHECK(ask(admin, n) == SECCOMP_RET_ALLOW);
  }
  CHECK(ask(admin, SYS_clone, 0x10000000) == SECCOMP_RET_ALLOW);
  CHECK(ask(admin, SYS_reboot) == denied(EPERM));
  CHECK(ask(admin, SYS_chroot) == denied(EPERM));
  auto time = *compile_seccomp(default_seccomp_profile(caps({"SYS_TIME"})));
  CHECK(ask(time, SYS_settimeofday) == SECCOMP_RET_ALLOW);
}

TEST_CASE("profiles of one's own") {
  SeccompProfile p;
  p.default_action = "SCMP_ACT_ALLOW";
  SeccompRule rule;
  rule.names = {"mkdir", "mkdirat", "no_such_call_at_all"};
  rule.action = "SCMP_ACT_ERRNO";
  rule.errno_ret = 28;
  p.rules.push_back(rule);
  auto program = *compile_seccomp(p);
  CHECK(ask(program, SYS_mkdirat) == denied(28));
  CHECK(ask(program, SYS_read) == SECCOMP_RET_ALLOW);
  CHECK(*compile_seccomp(p) == program);  // the same one, not a second
  p.rules[0].action = "SCMP_ACT_DANCE";
  auto bad = compile_seccomp(p);
  REQUIRE(bad.has_error());
  CHECK(bad.error().message == "seccomp profile: unknown action \"SCMP_ACT_DANCE\"");
  p.rules[0].action = "SCMP_ACT_KILL_PROCESS";
  p.rules[0].args = {{9, 0, 0, "SCMP_CMP_EQ"}};
  CHECK(compile_seccomp(p).has_error());
}

TEST_CASE("signals by name") {
  struct Row {
    const char* text;
    int number;
  };
  const Row rows[] = {{"SIGTERM", 15},  {"TERM", 15},       {"term", 15},       {"9", 9},
                      {"SIGRTMIN", 34}, {"RTMIN+3", 37},    {"SIGRTMAX-1", 63}, {"SIGRTMAX", 64},
                      {"", 0},          {"SIG", 0},         {"0", 0},           {"65", 0},
                      {"-1", 0},        {"SIGRTMIN+99", 0}, {"SIGRTMIN3", 0},   {"TERM ", 0},
                      {"9x", 0}};
  for (const auto& row : rows) CHECK(parse_signal(row.text) == row.number);
  CHECK(signal_name(15) == "SIGTERM");
  CHECK(signal_name(42) == "SIGRTMIN+8");
  CHECK(signal_name(32) == "SIG32");
}

TEST_CASE("mountinfo") {
  auto entries = parse_mountinfo(
      "22 27 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n"
      "40 27 8:1 /sub /a\\040b\\134c rw - ext4 /dev/sda1 rw,data=ordered\n"
      "nonsense\n41 27 0:3 / /x rw\n"
      "42 27 0:3 / /y rw master:1 propagate_from:2 - tmpfs none");
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].mount_point == "/proc");
  CHECK(entries[0].shared);
  CHECK(entries[0].parent == 27);
  CHECK(entries[1].mount_point == "/a b\\c");
  CHECK(entries[1].root == "/sub");
  CHECK(entries[1].super_options == "rw,data=ordered");
  CHECK(!entries[1].shared);
  CHECK(entries[2].type == "tmpfs");
}
