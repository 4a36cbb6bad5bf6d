#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "skiff/linux/security.hpp"

namespace skiff::sys {
namespace {

struct Action {
  std::string_view name;
  std::uint32_t value;
};
constexpr Action actions[] = {
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(EPERM)},
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(EPERM)},
};

struct Compare {
  std::string_view name;
  scmp_compare value;
};
constexpr Compare compares[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

struct Architecture {
  std::string_view name;
  std::uint32_t value;
};
constexpr Architecture architectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},           {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},           {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},   {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
    {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},   {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390},         {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
};

Result<std::uint32_t> parse_action(const std::string& name, std::optional<unsigned> errno_ret) {
  if (errno_ret && name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(*errno_ret);
  if (errno_ret && name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(*errno_ret);
  for (const auto& a : actions) {
    if (a.name == name) return a.value;
  }
  return Error{Code::invalid, "seccomp profile: unknown action \"" + name + "\""};
}

Result<scmp_arg_cmp> parse_arg(const SeccompArg& arg) {
  for (const auto& c : compares) {
    if (c.name != arg.op) continue;
    if (arg.index > 5) break;
    scmp_arg_cmp cmp{};
    cmp.arg = arg.index;
    cmp.op = c.value;
    cmp.datum_a = arg.value;
    cmp.datum_b = arg.value_two;
    return cmp;
  }
  return Error{Code::invalid, "seccomp profile: bad argument comparison \"" + arg.op + "\""};
}

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, Release>;

Result<void> add_rule(void* context, const SeccompRule& rule, std::uint32_t default_action) {
  SKIFF_TRY(std::uint32_t action, parse_action(rule.action, rule.errno_ret));
  if (action == default_action) return {};  // libseccomp refuses what changes nothing
  std::vector<scmp_arg_cmp> args;
  for (const auto& a : rule.args) {
    SKIFF_TRY(scmp_arg_cmp cmp, parse_arg(a));
    args.push_back(cmp);
  }
  for (const auto& name : rule.names) {
    int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) continue;  // newer or older than this libseccomp
    int r = seccomp_rule_add_array(context, action, number, static_cast<unsigned>(args.size()),
                                   args.data());
    if (r == -EFAULT || r == -EDOM || r == -EOPNOTSUPP) continue;  // not on this architecture
    if (r < 0 && r != -EEXIST) return errno_error(-r, "seccomp profile: rule for " + name);
  }
  return {};
}

Result<SeccompProgram> export_program(void* context) {
  int fd = ::memfd_create("seccomp", MFD_CLOEXEC);
  if (fd < 0) return errno_error(errno, "memfd_create");
  int r = seccomp_export_bpf(context, fd);
  auto size = ::lseek(fd, 0, SEEK_END);
  auto program = std::make_shared<std::vector<std::uint64_t>>();
  if (r >= 0 && size > 0) {
    program->resize(static_cast<std::size_t>(size) / 8);
    if (::pread(fd, program->data(), static_cast<std::size_t>(size), 0) != size) r = -EIO;
  }
  ::close(fd);
  if (r < 0) return errno_error(-r, "compiling the seccomp profile");
  return SeccompProgram(std::move(program));
}

Result<SeccompProgram> compile(const SeccompProfile& profile) {
  SKIFF_TRY(std::uint32_t action, parse_action(profile.default_action, profile.default_errno_ret));
  Context context(seccomp_init(action));
  if (!context) return Error{Code::internal, "libseccomp could not be initialised"};
  // Sorted into a binary tree: the kernel looks at some ten instructions a call, not hundreds.
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, action);
  for (const auto& name : profile.architectures) {
    for (const auto& a : architectures) {
      if (a.name != name) continue;
      int r = seccomp_arch_add(context.get(), a.value);
      if (r < 0 && r != -EEXIST && r != -EDOM) {
        return errno_error(-r, "seccomp profile: architecture " + name);
      }
    }
  }
  for (const auto& rule : profile.rules) SKIFF_CHECK(add_rule(context.get(), rule, action));
  return export_program(context.get());
}

std::string fingerprint(const SeccompProfile& profile) {
  std::string key = profile.default_action;
  auto add = [&key](std::string_view s) { key.append(s).push_back('\x1f'); };
  auto number = [&add](std::uint64_t n) { add(std::to_string(n)); };
  number(profile.default_errno_ret.value_or(~0U));
  for (const auto& a : profile.architectures) add(a);
  for (const auto& rule : profile.rules) {
    add("\x1e");
    add(rule.action);
    number(rule.errno_ret.value_or(~0U));
    for (const auto& n : rule.names) add(n);
    for (const auto& a : rule.args) {
      add(a.op);
      number(a.index);
      number(a.value);
      number(a.value_two);
    }
  }
  return key;
}

// A node runs a handful of different profiles; past the limit the memory starts anew. Replaced
// whole, so that threads share it without a lock; a lost race compiles a profile twice.
using Cache = std::map<std::string, SeccompProgram>;
constexpr std::size_t cache_limit = 32;

std::atomic<std::shared_ptr<const Cache>>& compiled() {
  static std::atomic<std::shared_ptr<const Cache>> cache{std::make_shared<const Cache>()};
  return cache;
}

}  // namespace

Result<SeccompProgram> compile_seccomp(const SeccompProfile& profile) {
  std::string key = fingerprint(profile);
  auto known = compiled().load();
  if (auto it = known->find(key); it != known->end()) return it->second;
  SKIFF_TRY(SeccompProgram program, compile(profile));
  auto grown =
      known->size() < cache_limit ? std::make_shared<Cache>(*known) : std::make_shared<Cache>();
  (*grown)[std::move(key)] = program;
  compiled().store(std::move(grown));
  return program;
}

}  // namespace skiff::sys
