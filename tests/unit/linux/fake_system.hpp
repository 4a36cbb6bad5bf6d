// A stand-in for the kernel: files and directories in memory, and a record of every call that
// changes something.
#pragma once

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "skiff/linux/system.hpp"

namespace skiff::sys {

class FakeSystem final : public System {
 public:
  std::map<std::string, std::string> files;
  std::set<std::string> directories;
  std::vector<std::string> calls;                        // "write PATH VALUE", "mkdir PATH", ...
  std::map<std::string, std::vector<int>> write_errors;  // of a path: what its next writes return
  // Files that appear in every new directory, as in a cgroup file system.
  std::vector<std::pair<std::string, std::string>> new_directory_files;

  int read_file(const char* path, std::string& out, std::size_t) override {
    auto it = files.find(path);
    if (it == files.end()) return -ENOENT;
    out = it->second;
    return 0;
  }
  int write_file(const char* path, std::string_view data) override {
    calls.push_back("write " + std::string(path) + " " + std::string(data));
    auto error = write_errors.find(path);
    if (error != write_errors.end() && !error->second.empty()) {
      int r = error->second.front();
      error->second.erase(error->second.begin());
      if (r < 0) return r;
    }
    if (files.count(path) == 0) return -ENOENT;
    files[path] = data;
    return 0;
  }
  int make_directory(const char* path, mode_t) override {
    std::string p = path;
    if (directories.count(p) != 0) return -EEXIST;
    if (directories.count(p.substr(0, p.rfind('/'))) == 0) return -ENOENT;
    calls.push_back("mkdir " + p);
    directories.insert(p);
    for (const auto& [name, text] : new_directory_files) files[p + "/" + name] = text;
    return 0;
  }
  int remove_directory(const char* path) override {
    std::string p = path;
    if (directories.count(p) == 0) return -ENOENT;
    for (const auto& d : directories) {
      if (d.starts_with(p + "/")) return -EBUSY;
    }
    calls.push_back("rmdir " + p);
    directories.erase(p);
    return 0;
  }
  int list_directory(const char* path, std::vector<std::string>& out, bool) override {
    std::string prefix = std::string(path) + "/";
    if (directories.count(path) == 0) return -ENOENT;
    out.clear();
    for (const auto& d : directories) {
      if (d.starts_with(prefix) && d.find('/', prefix.size()) == std::string::npos) {
        out.push_back(d.substr(prefix.size()));
      }
    }
    return 0;
  }
  int kill(pid_t pid, int signal) override {
    calls.push_back("kill " + std::to_string(pid) + " " + std::to_string(signal));
    if (on_kill) on_kill(pid);
    return 0;
  }
  std::function<void(pid_t)> on_kill;

  // What control groups do not need.
  int make_directory_at(int, const char*, mode_t) override { return -ENOSYS; }
  int read_link(int, const char*, std::string&) override { return -ENOSYS; }
  int is_directory(int) override { return -ENOSYS; }
  int make_node(int, const char*, mode_t, dev_t) override { return -ENOSYS; }
  int make_symlink(const char*, int, const char*) override { return -ENOSYS; }
  int change_owner(int, const char*, uid_t, gid_t, int) override { return -ENOSYS; }
  int open_at(int, const char*, int, mode_t, std::uint64_t) override { return -ENOSYS; }
  void close(int) override {}
  int mount(const char*, const char*, const char*, unsigned long, const char*) override {
    return -ENOSYS;
  }
  int unmount(const char*, int) override { return -ENOSYS; }
  int open_tree(int, const char*, unsigned) override { return -ENOSYS; }
  int move_mount(int, const char*, int, const char*, unsigned) override { return -ENOSYS; }
  int mount_setattr(int, const char*, unsigned, const mount_attr&) override { return -ENOSYS; }
  int mount_overlay(const std::vector<std::string>&, const char*, const char*,
                    const char*) override {
    return -ENOSYS;
  }
  int pivot_root(const char*, const char*) override { return -ENOSYS; }
  int change_directory(const char*) override { return -ENOSYS; }
  int change_directory(int) override { return -ENOSYS; }
  int unshare(int) override { return -ENOSYS; }
  int setns(int, int) override { return -ENOSYS; }
  int set_hostname(std::string_view) override { return -ENOSYS; }
  int loopback_up() override { return -ENOSYS; }
  pid_t fork_into(std::uint64_t, int, int*) override { return -ENOSYS; }
  int pidfd_open(pid_t) override { return -ENOSYS; }
  int pidfd_signal(int, int) override { return -ENOSYS; }
  int set_groups(const gid_t*, std::size_t) override { return -ENOSYS; }
  int set_gid(gid_t) override { return -ENOSYS; }
  int set_uid(uid_t) override { return -ENOSYS; }
  int set_rlimit(int, std::uint64_t, std::uint64_t) override { return -ENOSYS; }
  int set_capabilities(std::uint64_t, std::uint64_t, std::uint64_t) override { return -ENOSYS; }
  int prctl(int, unsigned long, unsigned long) override { return -ENOSYS; }
  int load_seccomp(const sock_fprog&, unsigned) override { return -ENOSYS; }
};

}  // namespace skiff::sys
