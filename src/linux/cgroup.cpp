#include <linux/bpf.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "cgroup_body.hpp"

namespace skiff::sys {

using Hierarchy = CgroupLayout::Hierarchy;

CgroupsBody::CgroupsBody(System& system, CgroupLayout layout, std::string parent,
                         const std::string& name)
    : system_(system), layout_(std::move(layout)) {
  if (parent.empty()) {
    bool managed = false;
    for (const auto& h : layout_.hierarchies) {
      managed |= h.own_path.ends_with(".service") || h.own_path.ends_with(".scope");
    }
    parent = managed ? "/" + name : name;
  }
  for (const auto& h : layout_.hierarchies) {
    roots_.push_back(parent.starts_with('/') ? h.mount_point + parent
                                             : h.mount_point + h.own_path + "/" + parent);
  }
}

std::string CgroupsBody::path(std::size_t i, const std::string& group) const {
  return group.empty() ? roots_[i] : roots_[i] + "/" + group;
}

std::optional<std::string> CgroupsBody::path_of(std::string_view controller,
                                                const std::string& group) const {
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    const auto& has = layout_.hierarchies[i].controllers;
    if (std::find(has.begin(), has.end(), controller) != has.end()) return path(i, group);
  }
  return std::nullopt;
}

bool CgroupsBody::is_unified(std::string_view controller) const {
  for (const auto& h : layout_.hierarchies) {
    if (std::find(h.controllers.begin(), h.controllers.end(), controller) != h.controllers.end()) {
      return h.unified;
    }
  }
  return false;
}

Result<void> CgroupsBody::write(const std::string& file, std::string_view value) const {
  int r = system_.write_file(file.c_str(), value);
  if (r < 0) return errno_error(-r, "writing \"" + std::string(value) + "\" to " + file);
  return {};
}

Result<std::string> CgroupsBody::read(const std::string& file) const {
  std::string text;
  int r = system_.read_file(file.c_str(), text);
  if (r < 0) return errno_error(-r, "reading " + file);
  return text;
}

std::string CgroupsBody::read_or_empty(const std::string& file) const {
  std::string text;
  if (system_.read_file(file.c_str(), text) < 0) text.clear();
  return text;
}

Result<void> CgroupsBody::create(const std::string& group) {
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    const auto& h = layout_.hierarchies[i];
    std::string target = path(i, group);
    // The common case first: everything above exists.
    int r = system_.make_directory(target.c_str(), 0755);
    if (r == 0 || r == -EEXIST) {
      if (h.unified && !h.controllers.empty()) SKIFF_CHECK(enable_above(h, target));
      continue;
    }
    for (auto slash = target.find('/', h.mount_point.size() + 1);;
         slash = target.find('/', slash + 1)) {
      std::string part = target.substr(0, slash);
      r = system_.make_directory(part.c_str(), 0755);
      if (r < 0 && r != -EEXIST) return errno_error(-r, "making the control group " + part);
      if (slash == std::string::npos) break;
    }
    if (h.unified && !h.controllers.empty()) SKIFF_CHECK(enable_above(h, target));
  }
  return {};
}

// v2 hands controllers down one level at a time; a group with controllers holds no process.
Result<void> CgroupsBody::enable_above(const Hierarchy& h, const std::string& target) {
  auto offered = read_or_empty(target + "/cgroup.controllers");
  std::string wanted;
  for (const auto& c : h.controllers) {
    if (offered.find(c) == std::string::npos) wanted += (wanted.empty() ? "+" : " +") + c;
  }
  if (wanted.empty()) return {};
  for (std::size_t end = h.mount_point.size(); end != std::string::npos;
       end = target.find('/', end + 1)) {
    std::string group = target.substr(0, end);
    std::string file = group + "/cgroup.subtree_control";
    int r = system_.write_file(file.c_str(), wanted);
    if (r == -EBUSY) {
      SKIFF_CHECK(move_to_leaf(group));
      r = system_.write_file(file.c_str(), wanted);
    }
    if (r < 0) return errno_error(-r, "enabling controllers (" + wanted + ") in " + file);
  }
  return {};
}

Result<void> CgroupsBody::move_to_leaf(const std::string& group) {
  std::string leaf = group + "/skiff-init";
  int r = system_.make_directory(leaf.c_str(), 0755);
  if (r < 0 && r != -EEXIST) return errno_error(-r, "making the control group " + leaf);
  SKIFF_TRY(std::string list, read(group + "/cgroup.procs"));
  for (pid_t pid : parse_pids(list)) {
    r = system_.write_file((leaf + "/cgroup.procs").c_str(), std::to_string(pid));
    if (r < 0 && r != -ESRCH) return errno_error(-r, "moving a process to " + leaf);
  }
  return {};
}

std::vector<pid_t> CgroupsBody::parse_pids(std::string_view text) {
  std::vector<pid_t> pids;
  const char* p = text.data();
  const char* end = p + text.size();
  while (p < end) {
    pid_t pid = 0;
    auto [next, error] = std::from_chars(p, end, pid);
    if (error == std::errc{} && pid > 0) pids.push_back(pid);
    p = next + 1;
  }
  return pids;
}

CgroupEntry CgroupsBody::entry(const std::string& group) const {
  CgroupEntry entry;
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    if (layout_.hierarchies[i].unified) {
      entry.unified_directory = path(i, group);
    } else {
      entry.task_files.push_back(path(i, group) + "/tasks");
    }
  }
  if (auto memory = path_of("memory", group)) {
    entry.oom_file = *memory + (is_unified("memory") ? "/memory.events" : "/memory.oom_control");
  }
  return entry;
}

std::vector<std::pair<std::string, std::string>> CgroupsBody::directories(
    const std::string& group) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    const auto& h = layout_.hierarchies[i];
    if (h.controllers.empty()) continue;
    out.emplace_back(layout_.unified() ? "" : h.name, path(i, group));
  }
  return out;
}

Result<std::vector<std::string>> CgroupsBody::children(const std::string& group) const {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    std::vector<std::string> names;
    int r = system_.list_directory(path(i, group).c_str(), names, true);
    if (r == -ENOENT) continue;
    if (r < 0) return errno_error(-r, "listing " + path(i, group));
    all.insert(all.end(), names.begin(), names.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

Result<void> CgroupsBody::gather(const std::string& directory, std::vector<pid_t>& pids) const {
  std::string text;
  int r = system_.read_file((directory + "/cgroup.procs").c_str(), text);
  if (r == -ENOENT || r == -ENODEV) return {};
  if (r < 0 && r != -EOPNOTSUPP) return errno_error(-r, "reading " + directory + "/cgroup.procs");
  for (pid_t pid : parse_pids(text)) pids.push_back(pid);
  std::vector<std::string> names;
  system_.list_directory(directory.c_str(), names, true);
  for (const auto& name : names) SKIFF_CHECK(gather(directory + "/" + name, pids));
  return {};
}

Result<std::vector<pid_t>> CgroupsBody::processes(const std::string& group) const {
  std::vector<pid_t> pids;
  for (std::size_t i = 0; i < roots_.size(); ++i) SKIFF_CHECK(gather(path(i, group), pids));
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

Result<void> CgroupsBody::freeze(const std::string& group, bool frozen) {
  if (auto v1 = path_of("freezer", group)) {
    return write(*v1 + "/freezer.state", frozen ? "FROZEN" : "THAWED");
  }
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    if (layout_.hierarchies[i].unified) {
      return write(path(i, group) + "/cgroup.freeze", frozen ? "1" : "0");
    }
  }
  return Error{Code::unavailable, "no freezer: neither its v1 hierarchy nor cgroup v2 is in use"};
}

Result<void> CgroupsBody::kill(const std::string& group) {
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    if (!layout_.hierarchies[i].unified) continue;
    system_.write_file((path(i, group) + "/cgroup.kill").c_str(), "1");
  }
  // Each round freezes first (so that nothing forks away), signals, and thaws: SIGKILL acts then.
  constexpr int rounds = 1000;
  constexpr useconds_t pause_us = 10'000;
  for (int round = 0; round < rounds; ++round) {
    SKIFF_TRY(auto pids, processes(group));
    if (pids.empty()) return {};
    bool frozen = path_of("freezer", group) && freeze(group, true);
    if (frozen) {
      SKIFF_TRY(pids, processes(group));
      for (pid_t pid : pids) system_.kill(pid, SIGKILL);
      SKIFF_CHECK(freeze(group, false));
    } else {
      for (pid_t pid : pids) system_.kill(pid, SIGKILL);
    }
    if (round > 0) ::usleep(pause_us);
  }
  SKIFF_TRY(auto pids, processes(group));
  if (pids.empty()) return {};
  return Error{Code::unavailable, "process " + std::to_string(pids.front()) +
                                      " does not die: it hangs in the kernel, see its /proc stack"};
}

Result<void> CgroupsBody::remove_tree(const std::string& directory) {
  int r = system_.remove_directory(directory.c_str());
  if (r == 0 || r == -ENOENT) return {};
  std::vector<std::string> names;
  system_.list_directory(directory.c_str(), names, true);
  for (const auto& name : names) SKIFF_CHECK(remove_tree(directory + "/" + name));
  // The last process leaves its group a moment after it is reported dead.
  constexpr int rounds = 200;
  for (int round = 0; round < rounds; ++round) {
    r = system_.remove_directory(directory.c_str());
    if (r != -EBUSY) break;
    ::usleep(5'000);
  }
  if (r < 0 && r != -ENOENT) return errno_error(-r, "removing the control group " + directory);
  return {};
}

Result<void> CgroupsBody::remove(const std::string& group) {
  for (std::size_t i = 0; i < roots_.size(); ++i) SKIFF_CHECK(remove_tree(path(i, group)));
  return {};
}

Result<std::unique_ptr<Cgroups>> make_cgroups(System& system, std::string parent,
                                              std::string name) {
  Result<CgroupLayout> found = detect_cgroup_layout(system);
  if (!found && found.error().code == Code::unavailable) {
    // `ip netns exec` puts a fresh /sys over the one that holds the hierarchies: they are there,
    // but not to be seen.
    SKIFF_CHECK(mount_cgroup_hierarchies(system, "/run/skiff/cgroup"));
    found = detect_cgroup_layout(system);
  }
  if (!found) return found.error();
  CgroupLayout layout = std::move(*found);
  return std::unique_ptr<Cgroups>(
      std::make_unique<CgroupsBody>(system, std::move(layout), std::move(parent), name));
}

}  // namespace skiff::sys
