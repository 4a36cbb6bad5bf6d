// A container's root without overlayfs: every layer copied, bottom up.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "files.hpp"
#include "shim_client.hpp"

namespace skiff::runtime {
namespace {

constexpr std::size_t copy_chunk = 16U << 20U;

Error failed(const std::string& path) { return errno_error(errno, "copying " + path); }

Result<void> copy_file(const std::string& from, const std::string& to, const struct stat& st) {
  OwnedFd in(::open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  OwnedFd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777U));
  if (!in || !out) return failed(from);
  while (true) {
    ssize_t n = ::copy_file_range(in.get(), nullptr, out.get(), nullptr, copy_chunk, 0);
    if (n == 0) return {};
    if (n > 0) continue;
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) {
      return failed(from);
    }
    break;
  }
  char buffer[65536];
  ssize_t n = 0;
  while ((n = ::read(in.get(), buffer, sizeof buffer)) > 0) {
    if (::write(out.get(), buffer, static_cast<std::size_t>(n)) != n) return failed(from);
  }
  if (n < 0) return failed(from);
  return {};
}

// File capabilities and the like; overlayfs's own marks stay behind.
void copy_attributes(const std::string& from, const std::string& to) {
  char names[4096];
  ssize_t size = ::llistxattr(from.c_str(), names, sizeof names);
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
    std::string_view name = names + at;
    if (name.starts_with("trusted.overlay.")) continue;
    char value[4096];
    ssize_t n = ::lgetxattr(from.c_str(), name.data(), value, sizeof value);
    if (n >= 0) ::lsetxattr(to.c_str(), name.data(), value, static_cast<std::size_t>(n), 0);
  }
}

bool opaque(const std::string& directory) {
  char value[8];
  ssize_t n = ::lgetxattr(directory.c_str(), "trusted.overlay.opaque", value, sizeof value);
  return n == 1 && value[0] == 'y';
}

Result<void> copy_entry(const std::string& from, const std::string& to);

Result<void> copy_directory(const std::string& from, const std::string& to) {
  DIR* dir = ::opendir(from.c_str());
  if (!dir) return failed(from);
  Result<void> result;
  while (dirent* entry = ::readdir(dir)) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    std::string tail = "/" + std::string(name);
    result = copy_entry(from + tail, to + tail);
    if (!result) break;
  }
  ::closedir(dir);
  return result;
}

Result<void> copy_entry(const std::string& from, const std::string& to) {
  struct stat st;
  if (::lstat(from.c_str(), &st) != 0) return failed(from);
  if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) return remove_all(to);  // a whiteout
  struct stat old;
  bool exists = ::lstat(to.c_str(), &old) == 0;
  bool merge = exists && S_ISDIR(old.st_mode) && S_ISDIR(st.st_mode) && !opaque(from);
  if (exists && !merge) SKIFF_CHECK(remove_all(to));
  if (S_ISDIR(st.st_mode)) {
    if (!merge && ::mkdir(to.c_str(), 0700) != 0) return failed(to);
    SKIFF_CHECK(copy_directory(from, to));
  } else if (S_ISREG(st.st_mode)) {
    SKIFF_CHECK(copy_file(from, to, st));
  } else if (S_ISLNK(st.st_mode)) {
    std::string target;
    int r = sys::real_system().read_link(AT_FDCWD, from.c_str(), target);
    if (r < 0 || ::symlink(target.c_str(), to.c_str()) != 0) return failed(from);
  } else if (::mknod(to.c_str(), st.st_mode, st.st_rdev) != 0) {
    return failed(from);
  }
  if (::lchown(to.c_str(), st.st_uid, st.st_gid) != 0) return failed(to);
  if (!S_ISLNK(st.st_mode) && ::chmod(to.c_str(), st.st_mode & 07777U) != 0) return failed(to);
  copy_attributes(from, to);
  return {};
}

}  // namespace

Result<void> copy_layers(const std::vector<std::string>& lower_dirs, const std::string& target) {
  SKIFF_CHECK(make_directories(target));
  for (const auto& layer : lower_dirs) {
    SKIFF_CHECK(copy_directory(layer, target));
    struct stat st;
    if (::stat(layer.c_str(), &st) == 0 && (::chown(target.c_str(), st.st_uid, st.st_gid) != 0 ||
                                            ::chmod(target.c_str(), st.st_mode & 07777U) != 0)) {
      return failed(target);
    }
  }
  return {};
}

}  // namespace skiff::runtime
