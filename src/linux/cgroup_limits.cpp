#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "cgroup_body.hpp"

namespace skiff::sys {
namespace {

// KEP-2254: the linear map of [2, 262144] onto [1, 10000].
std::uint64_t weight_of(std::uint64_t shares) {
  shares = std::clamp<std::uint64_t>(shares, 2, 262'144);
  return 1 + ((shares - 2) * 9999) / 262'142;
}

std::string number_or_max(std::int64_t n) { return n < 0 ? "max" : std::to_string(n); }

std::uint64_t to_u64(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The number after `key ` at the start of a line.
std::uint64_t keyed(std::string_view text, std::string_view key) {
  std::size_t at = 0;
  while (at < text.size()) {
    auto line = text.substr(at, text.find('\n', at) - at);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      return to_u64(line.substr(key.size() + 1));
    }
    auto end = text.find('\n', at);
    if (end == std::string_view::npos) break;
    at = end + 1;
  }
  return 0;
}

}  // namespace

Result<void> CgroupsBody::set_cpu(const std::string& dir, bool unified,
                                  const CgroupLimits& limits) {
  std::string period = std::to_string(limits.cpu_period_us ? limits.cpu_period_us : 100'000);
  if (unified) {
    if (limits.cpu_shares) {
      SKIFF_CHECK(write(dir + "/cpu.weight", std::to_string(weight_of(limits.cpu_shares))));
    }
    if (limits.cpu_quota_us) {
      SKIFF_CHECK(write(dir + "/cpu.max", number_or_max(limits.cpu_quota_us) + " " + period));
    }
    return {};
  }
  if (limits.cpu_shares) {
    SKIFF_CHECK(write(dir + "/cpu.shares", std::to_string(limits.cpu_shares)));
  }
  if (limits.cpu_quota_us) {
    // 100 ms is what a new group has; writing it again costs as much as changing it.
    if (period != "100000") SKIFF_CHECK(write(dir + "/cpu.cfs_period_us", period));
    SKIFF_CHECK(write(dir + "/cpu.cfs_quota_us", std::to_string(limits.cpu_quota_us)));
  }
  return {};
}

// Memory and swap together have a limit too, where swap is accounted; it is never below the memory
// limit, so the order depends on the direction.
Result<void> CgroupsBody::set_memory_v1(const std::string& dir, std::int64_t bytes) {
  std::string value = std::to_string(bytes);
  std::string memory = dir + "/memory.limit_in_bytes";
  std::string both = dir + "/memory.memsw.limit_in_bytes";
  int r = system_.write_file(memory.c_str(), value);
  if (r == -EINVAL) {
    system_.write_file(both.c_str(), value);
    r = system_.write_file(memory.c_str(), value);
  }
  if (r == -EBUSY) {
    return Error{Code::conflict, "the memory in use is above the new limit of " + value + " bytes"};
  }
  if (r < 0) return errno_error(-r, "writing " + value + " to " + memory);
  r = system_.write_file(both.c_str(), value);
  if (r < 0 && r != -ENOENT && r != -EOPNOTSUPP) {
    return errno_error(-r, "writing " + value + " to " + both);
  }
  return {};
}

Result<void> CgroupsBody::set_memory_v2(const std::string& dir, const CgroupLimits& limits) {
  if (limits.memory_bytes) {
    SKIFF_CHECK(write(dir + "/memory.max", number_or_max(limits.memory_bytes)));
    // Both are absent on some kernels: no swap, or before 4.19.
    system_.write_file((dir + "/memory.swap.max").c_str(), limits.memory_bytes < 0 ? "max" : "0");
    system_.write_file((dir + "/memory.oom.group").c_str(), "1");
  }
  if (limits.memory_min_bytes > 0) {
    SKIFF_CHECK(write(dir + "/memory.min", std::to_string(limits.memory_min_bytes)));
  }
  return {};
}

Result<void> CgroupsBody::set_limits(const std::string& group, const CgroupLimits& limits) {
  if (auto dir = path_of("cpu", group)) SKIFF_CHECK(set_cpu(*dir, is_unified("cpu"), limits));
  if (auto dir = path_of("memory", group)) {
    if (is_unified("memory")) {
      SKIFF_CHECK(set_memory_v2(*dir, limits));
    } else if (limits.memory_bytes) {
      SKIFF_CHECK(set_memory_v1(*dir, limits.memory_bytes));
    }
  }
  if (auto dir = path_of("pids", group); dir && limits.pids) {
    SKIFF_CHECK(write(*dir + "/pids.max", number_or_max(limits.pids)));
  }
  return {};
}

Result<void> CgroupsBody::set_devices(const std::string& group,
                                      const std::vector<DeviceRule>& rules) {
  auto dir = path_of("devices", group);
  if (!dir) {
    for (std::size_t i = 0; i < roots_.size(); ++i) {
      if (layout_.hierarchies[i].unified) return attach_device_program(path(i, group), rules);
    }
    return {};
  }
  SKIFF_CHECK(write(*dir + "/devices.deny", "a"));
  for (const auto& rule : rules) {
    auto number = [](std::int64_t n) { return n < 0 ? "*" : std::to_string(n); };
    std::string line(1, rule.type);
    if (rule.type != 'a') {
      line += " " + number(rule.major) + ":" + number(rule.minor) + " " + rule.access;
    }
    SKIFF_CHECK(write(*dir + (rule.allow ? "/devices.allow" : "/devices.deny"), line));
  }
  return {};
}

Result<void> CgroupsBody::attach_device_program(const std::string& dir,
                                                const std::vector<DeviceRule>& rules) {
  auto program = device_program(rules);
  static const char license[] = "Apache-2.0";
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<std::uint64_t>(program.data());
  load.insn_cnt = static_cast<std::uint32_t>(program.size());
  load.license = reinterpret_cast<std::uint64_t>(license);
  int fd = static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
  if (fd < 0) return errno_error(errno, "loading the device filter");
  int target = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = errno;
  if (target >= 0) {
    bpf_attr attach{};
    attach.target_fd = static_cast<std::uint32_t>(target);
    attach.attach_bpf_fd = static_cast<std::uint32_t>(fd);
    attach.attach_type = BPF_CGROUP_DEVICE;
    error = ::syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) < 0 ? errno : 0;
    ::close(target);
  }
  ::close(fd);
  if (error) return errno_error(error, "attaching the device filter to " + dir);
  return {};
}

void CgroupsBody::memory_stats(const std::string& dir, bool unified, CgroupStats& stats) const {
  auto text = [&](const char* file) { return read_or_empty(dir + file); };
  std::string detail = text("/memory.stat");
  std::string limit = text(unified ? "/memory.max" : "/memory.limit_in_bytes");
  stats.memory_usage = to_u64(text(unified ? "/memory.current" : "/memory.usage_in_bytes"));
  std::uint64_t inactive = keyed(detail, unified ? "inactive_file" : "total_inactive_file");
  stats.memory_working_set = stats.memory_usage > inactive ? stats.memory_usage - inactive : 0;
  stats.memory_rss = keyed(detail, unified ? "anon" : "total_rss");
  stats.page_faults = keyed(detail, unified ? "pgfault" : "total_pgfault");
  stats.major_page_faults = keyed(detail, unified ? "pgmajfault" : "total_pgmajfault");
  // v1 has a number for "none": the largest multiple of the page size.
  constexpr std::uint64_t no_limit = 1ULL << 62U;
  stats.memory_limit = limit.starts_with("max") ? 0 : to_u64(limit);
  if (stats.memory_limit >= no_limit) stats.memory_limit = 0;
  stats.oom_kills = keyed(text(unified ? "/memory.events" : "/memory.oom_control"), "oom_kill");
}

Result<CgroupStats> CgroupsBody::stats(const std::string& group) const {
  CgroupStats stats;
  if (auto dir = path_of("cpuacct", group)) {
    SKIFF_TRY(std::string text, read(*dir + "/cpuacct.usage"));
    stats.cpu_nanoseconds = to_u64(text);
  } else if (auto cpu = path_of("cpu", group); cpu && is_unified("cpu")) {
    SKIFF_TRY(std::string text, read(*cpu + "/cpu.stat"));
    stats.cpu_nanoseconds = keyed(text, "usage_usec") * 1000;
  }
  if (auto dir = path_of("memory", group)) memory_stats(*dir, is_unified("memory"), stats);
  if (auto dir = path_of("pids", group)) {
    stats.processes = to_u64(read_or_empty(*dir + "/pids.current"));
  }
  return stats;
}

}  // namespace skiff::sys
