#include <algorithm>

#include "skiff/linux/cgroup.hpp"

#include <sys/mount.h>

#include <cerrno>

namespace skiff::sys {
namespace {

// Freezer is there for kill(): nothing forks away from a frozen group.
constexpr std::string_view v1_wanted[] = {"cpu", "cpuacct", "memory", "pids", "devices", "freezer"};
constexpr std::string_view v2_wanted[] = {"cpu", "memory", "pids"};

template <class List>
bool contains(const List& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto end = text.find_first_of(separators);
    if (end != 0) out.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

struct Membership {
  std::vector<std::string> controllers;  // empty: the unified hierarchy
  std::string path;
};

// Lines "ID:CONTROLLERS:PATH" (cgroups(7)).
std::vector<Membership> parse_memberships(std::string_view text) {
  std::vector<Membership> out;
  for (const auto& line : split(text, "\n")) {
    auto first = line.find(':');
    auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    Membership m;
    m.controllers = split(std::string_view(line).substr(first + 1, second - first - 1), ",");
    m.path = line.substr(second + 1);
    out.push_back(std::move(m));
  }
  return out;
}

// Where this process is, below the mount point: a mount may show only a part of its hierarchy.
std::string below_mount(std::string path, const std::string& mount_root) {
  if (mount_root != "/" && path.starts_with(mount_root)) path.erase(0, mount_root.size());
  if (path == "/" || path.starts_with("/..")) path.clear();
  return path;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

const std::string* own_path(const std::vector<Membership>& memberships, std::string_view word) {
  for (const auto& m : memberships) {
    if (word.empty() ? m.controllers.empty() : contains(m.controllers, word)) return &m.path;
  }
  return nullptr;
}

}  // namespace

bool CgroupLayout::has(std::string_view controller) const noexcept {
  return std::any_of(hierarchies.begin(), hierarchies.end(),
                     [&](const Hierarchy& h) { return contains(h.controllers, controller); });
}

bool CgroupLayout::unified() const noexcept {
  return std::all_of(hierarchies.begin(), hierarchies.end(),
                     [](const Hierarchy& h) { return h.unified; });
}

CgroupLayout parse_cgroup_layout(std::string_view mountinfo, std::string_view self_cgroup,
                                 std::string_view v2_controllers) {
  CgroupLayout layout;
  auto memberships = parse_memberships(self_cgroup);
  std::optional<CgroupLayout::Hierarchy> unified;
  for (const auto& mount : parse_mountinfo(mountinfo)) {
    if (mount.type != "cgroup" && mount.type != "cgroup2") continue;
    CgroupLayout::Hierarchy h;
    h.mount_point = mount.mount_point;
    h.name = base_name(mount.mount_point);
    h.unified = mount.type == "cgroup2";
    if (h.unified) {
      if (unified) continue;
      for (const auto& c : split(v2_controllers, " \n")) {
        if (contains(v2_wanted, c)) h.controllers.push_back(c);
      }
      if (auto* path = own_path(memberships, "")) h.own_path = below_mount(*path, mount.root);
      unified = std::move(h);
      continue;
    }
    std::string tracking;
    for (const auto& option : split(mount.super_options, ",")) {
      if (contains(v1_wanted, option) && !layout.has(option)) h.controllers.push_back(option);
      if (option.starts_with("name=")) tracking = option;
    }
    const std::string& key = h.controllers.empty() ? tracking : h.controllers.front();
    if (key.empty()) continue;
    if (auto* path = own_path(memberships, key)) h.own_path = below_mount(*path, mount.root);
    // A hierarchy that only tracks services matters when a service manager put us into it: it
    // would kill the shims together with skiff.
    if (h.controllers.empty() && h.own_path.empty()) continue;
    layout.hierarchies.push_back(std::move(h));
  }
  if (unified) {
    // What v1 has is not v2's, whatever the file says.
    std::erase_if(unified->controllers, [&](const std::string& c) { return layout.has(c); });
    if (!unified->controllers.empty() || !unified->own_path.empty()) {
      layout.hierarchies.push_back(std::move(*unified));
    }
  }
  return layout;
}

Result<CgroupLayout> detect_cgroup_layout(System& system) {
  std::string mountinfo;
  std::string self;
  if (int r = system.read_file("/proc/self/mountinfo", mountinfo, 8U << 20U); r < 0) {
    return errno_error(-r, "reading /proc/self/mountinfo");
  }
  if (int r = system.read_file("/proc/self/cgroup", self); r < 0) {
    return errno_error(-r, "reading /proc/self/cgroup (does this kernel have control groups?)");
  }
  std::string controllers;
  for (const auto& mount : parse_mountinfo(mountinfo)) {
    if (mount.type != "cgroup2") continue;
    std::string path = mount.mount_point + "/cgroup.controllers";
    system.read_file(path.c_str(), controllers);
    break;
  }
  auto layout = parse_cgroup_layout(mountinfo, self, controllers);
  if (!layout.has("memory") && !layout.has("pids") && !layout.has("cpu")) {
    return Error{Code::unavailable,
                 "no control group hierarchy with cpu, memory or pids is mounted: mount cgroup2 at "
                 "/sys/fs/cgroup"};
  }
  return layout;
}

Result<void> mount_cgroup_hierarchies(System& system, const std::string& directory) {
  std::string self;
  if (int r = system.read_file("/proc/self/cgroup", self); r < 0) {
    return errno_error(-r, "reading /proc/self/cgroup (does this kernel have control groups?)");
  }
  for (std::size_t end = directory.find('/', 1);; end = directory.find('/', end + 1)) {
    system.make_directory(directory.substr(0, end).c_str(), 0755);
    if (end == std::string::npos) break;
  }
  std::string_view rest = self;
  while (!rest.empty()) {  // "4:cpu,cpuacct:/path", "0::/path"
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string controllers(line.substr(first + 1, second - first - 1));
    if (controllers.find('=') != std::string::npos) continue;  // a named hierarchy without any
    const bool unified = controllers.empty();
    const std::string target = directory + "/" + (unified ? "unified" : controllers);
    system.make_directory(target.c_str(), 0755);
    const int r =
        system.mount("cgroup", target.c_str(), unified ? "cgroup2" : "cgroup",
                     MS_NOSUID | MS_NODEV | MS_NOEXEC, unified ? nullptr : controllers.c_str());
    if (r < 0 && r != -EBUSY) return errno_error(-r, "mounting control groups at " + target);
  }
  return {};
}

}  // namespace skiff::sys
