#include <sys/prctl.h>

#include <cerrno>

#include "skiff/linux/security.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::sys {
namespace {

// By number, capabilities(7).
constexpr std::string_view names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

std::string canonical(std::string_view name) {
  std::string out;
  for (char c : name) {
    out.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  if (!out.starts_with("CAP_")) out.insert(0, "CAP_");
  return out;
}

bool is_all(std::string_view name) { return canonical(name) == "CAP_ALL"; }

CapabilitySet bit(int number) { return CapabilitySet{1} << static_cast<unsigned>(number); }

Result<CapabilitySet> set_of(const std::vector<std::string>& list) {
  CapabilitySet set = 0;
  for (const auto& name : list) {
    if (is_all(name)) continue;
    auto number = capability_number(name);
    if (!number) return Error{Code::invalid, "unknown capability \"" + name + "\""};
    set |= bit(*number);
  }
  return set;
}

}  // namespace

std::optional<int> capability_number(std::string_view name) noexcept {
  std::string wanted = canonical(name);
  for (std::size_t i = 0; i < std::size(names); ++i) {
    if (names[i] == wanted) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::string_view capability_name(int number) noexcept {
  if (number < 0 || static_cast<std::size_t>(number) >= std::size(names)) return {};
  return names[number];
}

CapabilitySet all_capabilities() noexcept {
  static const CapabilitySet all = [] {
    std::string text;
    int last = static_cast<int>(std::size(names)) - 1;
    if (real_system().read_file("/proc/sys/kernel/cap_last_cap", text) >= 0) {
      std::from_chars(text.data(), text.data() + text.size(), last);
    }
    return last >= 63 ? ~CapabilitySet{0} : bit(last + 1) - 1;
  }();
  return all;
}

CapabilitySet bounding_capabilities() noexcept {
  static const CapabilitySet bounding = [] {
    CapabilitySet set = 0;
    for (int i = 0; i < 64; ++i) {
      if ((all_capabilities() & bit(i)) != 0 &&
          real_system().prctl(PR_CAPBSET_READ, static_cast<unsigned long>(i), 0) == 1) {
        set |= bit(i);
      }
    }
    return set;
  }();
  return bounding;
}

CapabilitySet default_capabilities() noexcept {
  constexpr std::string_view granted[] = {
      "CHOWN",   "DAC_OVERRIDE", "FSETID",           "FOWNER",
      "MKNOD",   "NET_RAW",      "SETGID",           "SETUID",
      "SETFCAP", "SETPCAP",      "NET_BIND_SERVICE", "SYS_CHROOT",
      "KILL",    "AUDIT_WRITE"};
  CapabilitySet set = 0;
  for (auto name : granted) set |= bit(*capability_number(name));
  return set;
}

Result<CapabilitySet> adjust_capabilities(CapabilitySet base, const std::vector<std::string>& add,
                                          const std::vector<std::string>& drop) {
  SKIFF_TRY(CapabilitySet added, set_of(add));
  SKIFF_TRY(CapabilitySet dropped, set_of(drop));
  const bool add_all = std::any_of(add.begin(), add.end(), is_all);
  const bool drop_all = std::any_of(drop.begin(), drop.end(), is_all);
  CapabilitySet set = base;
  if (drop_all) set = 0;
  if (add_all) set = all_capabilities();
  // Named entries refine "ALL": add ALL but drop one, or drop ALL but add one.
  if (add_all) return (set & ~dropped) | added;
  return drop_all ? set | added : (set & ~dropped) | added;
}

}  // namespace skiff::sys
