#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "skiff/linux/system.hpp"

namespace skiff::sys {
namespace {

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      int value = 0;
      bool octal = true;
      for (std::size_t k = 1; k <= 3; ++k) {
        octal = octal && text[i + k] >= '0' && text[i + k] <= '7';
        value = value * 8 + (text[i + k] - '0');
      }
      if (octal) {
        out.push_back(static_cast<char>(value));
        i += 3;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    auto end = line.find(separator);
    if (end != 0) words.push_back(line.substr(0, end));
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return words;
}

int to_int(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

Result<void> pin_namespace(const std::string& source, const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (fd < 0) return errno_error(errno, "creating the namespace file " + path);
  ::close(fd);
  if (int r = real_system().mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr); r < 0) {
    ::unlink(path.c_str());
    return errno_error(-r, "pinning the namespace at " + path);
  }
  return {};
}

Result<void> make_pinned_netns(const std::string& path) {
  Result<void> result;
  std::thread([&] {
    if (int r = real_system().unshare(CLONE_NEWNET); r < 0) {
      result = errno_error(-r, "making a network namespace");
      return;
    }
    if (int r = real_system().loopback_up(); r < 0) {
      result = errno_error(-r, "bringing lo up in a new network namespace");
      return;
    }
    result = pin_namespace("/proc/thread-self/ns/net", path);
  }).join();
  return result;
}

Result<void> unpin_namespace(const std::string& path) {
  int r = real_system().unmount(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  if (r < 0 && r != -EINVAL && r != -ENOENT) {
    return errno_error(-r, "unmounting the namespace file " + path);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return errno_error(errno, "removing the namespace file " + path);
  }
  return {};
}

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> entries;
  for (std::string_view line : split(text, '\n')) {
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER_OPTIONS
    auto words = split(line, ' ');
    std::size_t dash = 6;
    while (dash < words.size() && words[dash] != "-") ++dash;
    if (words.size() < 7 || dash + 1 >= words.size()) continue;
    MountEntry entry;
    entry.id = to_int(words[0]);
    entry.parent = to_int(words[1]);
    entry.root = unescape(words[3]);
    entry.mount_point = unescape(words[4]);
    for (std::size_t i = 6; i < dash; ++i) entry.shared |= words[i].starts_with("shared:");
    entry.type = std::string(words[dash + 1]);
    if (dash + 2 < words.size()) entry.source = unescape(words[dash + 2]);
    if (dash + 3 < words.size()) entry.super_options = std::string(words[dash + 3]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

bool is_namespace(const std::string& path) noexcept {
  struct statfs fs {};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

}  // namespace skiff::sys
