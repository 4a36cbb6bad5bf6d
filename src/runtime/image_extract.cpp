#include "image_extract.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace skiff::runtime {
namespace {

Error failed(std::string_view what, std::string_view path) {
  return errno_error(errno, fmt::format("unpacking {}: {}", path, what));
}

int open_beneath(int root, const char* path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root, path, &how, sizeof how));
}

// Without privilege owners can not be set, and in a user namespace not all of them: the files are
// the user's own then.
void own(int fd, const FileMeta& meta) {
  if (::fchown(fd, meta.uid, meta.gid) != 0) errno = 0;
}

// File capabilities and users' own; overlayfs's and the security modules' would let a layer speak
// for the machine.
bool allowed_xattr(std::string_view name) {
  return name == "security.capability" ||
         (name.starts_with("user.") && !name.starts_with("user.overlay."));
}

void set_xattrs(int fd, const FileMeta& meta) {
  for (const auto& [name, value] : meta.xattrs) {
    if (!allowed_xattr(name)) continue;
    // File systems without xattrs, and users without privilege: the file works without.
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0) errno = 0;
  }
}

Result<void> set_meta(int fd, const FileMeta& meta, std::string_view path) {
  own(fd, meta);
  // After the owner: changing that takes set-user-ID away.
  if (::fchmod(fd, meta.mode & 07777U) != 0) return failed("chmod", path);
  set_xattrs(fd, meta);
  const timespec times[2] = {meta.modified, meta.modified};
  if (::futimens(fd, times) != 0) return failed("setting times", path);
  return {};
}

bool is_whiteout(const struct stat& s) { return S_ISCHR(s.st_mode) && s.st_rdev == 0; }

}  // namespace

Result<std::string> clean_path(std::string_view path, std::size_t max_bytes) {
  const Error out{Code::invalid, fmt::format("unsafe path in the image: \"{}\"", path)};
  if (path.size() > max_bytes || path.find('\0') != std::string_view::npos) return out;
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (parts.empty()) return out;
      parts.pop_back();
    } else {
      if (part.size() > 255) return out;
      parts.push_back(part);
    }
  }
  std::string clean;
  for (const auto part : parts) {
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

Result<Extractor> Extractor::open(const std::string& directory) {
  const int root = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return errno_error(errno, "opening " + directory);
  return Extractor(root);
}

Extractor::Extractor(Extractor&& other) noexcept
    : root_(std::exchange(other.root_, -1)),
      parent_path_(std::move(other.parent_path_)),
      parent_(std::exchange(other.parent_, -1)),
      directories_(std::move(other.directories_)) {}

Extractor::~Extractor() {
  forget_parent();
  if (root_ >= 0) ::close(root_);
}

void Extractor::forget_parent() noexcept {
  if (parent_ >= 0) ::close(parent_);
  parent_ = -1;
  parent_path_.clear();
}

// Kernels before 5.6 have no openat2: links in parents are refused there.
Result<int> Extractor::walk(const std::string& path) {
  int at = ::fcntl(root_, F_DUPFD_CLOEXEC, 0);
  std::string_view rest = path;
  while (at >= 0 && !rest.empty()) {
    const auto slash = rest.find('/');
    const std::string part(rest.substr(0, slash));
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    const int next = ::openat(at, part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int number = errno;
    ::close(at);
    errno = number;
    at = next;
  }
  if (at < 0) return failed("opening the directory", path);
  return at;
}

Result<int> Extractor::open_directory(const std::string& path, bool create) {
  if (path.empty()) return ::fcntl(root_, F_DUPFD_CLOEXEC, 0);
  int fd = open_beneath(root_, path.c_str());
  if (fd < 0 && errno == ENOSYS) {
    auto walked = walk(path);
    if (walked) return walked;
    fd = -1;
    if (walked.error().code == Code::not_found) errno = ENOENT;
  }
  if (fd >= 0) return fd;
  if (errno != ENOENT || !create) return failed("opening the directory", path);
  const auto slash = path.rfind('/');
  const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
  SKIFF_TRY(const int parent, open_directory(above, true));
  const std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  const int made = ::mkdirat(parent, name.c_str(), 0755);
  const int number = errno;
  ::close(parent);
  errno = number;
  // A link that leads nowhere is there and can not be opened either: it must not loop.
  if (made != 0) return failed("making the directory", path);
  fd = open_beneath(root_, path.c_str());
  if (fd < 0 && errno == ENOSYS) return walk(path);
  if (fd < 0) return failed("opening the directory", path);
  return fd;
}

Result<Extractor::Place> Extractor::place(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
  if (parent_ < 0 || above != parent_path_) {
    forget_parent();
    SKIFF_TRY(parent_, open_directory(above, true));
    parent_path_ = above;
  }
  return Place{parent_, path.substr(slash == std::string::npos ? 0 : slash + 1)};
}

Result<void> Extractor::clear(const Place& place, bool* whiteout) {
  struct stat s {};
  if (::fstatat(place.directory, place.name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return failed("looking", place.name);
  }
  if (whiteout != nullptr) *whiteout = is_whiteout(s);
  if (S_ISDIR(s.st_mode)) {
    std::error_code error;
    std::filesystem::remove_all(fmt::format("/proc/self/fd/{}/{}", place.directory, place.name),
                                error);
    if (error) return errno_error(error.value(), "unpacking: replacing " + place.name);
    return {};
  }
  if (::unlinkat(place.directory, place.name.c_str(), 0) != 0) {
    return failed("replacing", place.name);
  }
  return {};
}

Result<void> Extractor::add_directory(const std::string& path, const FileMeta& meta) {
  if (path.empty()) {
    directories_.emplace_back(path, meta);
    return {};
  }
  SKIFF_TRY(const auto at, place(path));
  struct stat s {};
  const bool there = ::fstatat(at.directory, at.name.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0;
  bool whiteout = false;
  if (!there || !S_ISDIR(s.st_mode)) {
    SKIFF_CHECK(clear(at, &whiteout));
    if (::mkdirat(at.directory, at.name.c_str(), 0700) != 0) {
      return failed("making the directory", path);
    }
  }
  directories_.emplace_back(path, meta);
  // What was hidden below stays hidden although a directory stands here again.
  if (whiteout) return make_opaque(path);
  return {};
}

Result<int> Extractor::begin_file(const std::string& path) {
  if (path.empty()) return Error{Code::invalid, "the image's root is a file"};
  SKIFF_TRY(const auto at, place(path));
  SKIFF_CHECK(clear(at));
  const int fd = ::openat(at.directory, at.name.c_str(),
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return failed("creating", path);
  return fd;
}

Result<void> Extractor::end_file(int fd, const FileMeta& meta) {
  auto result = set_meta(fd, meta, "a file");
  if (::close(fd) != 0 && result) return errno_error(errno, "unpacking: closing a file");
  return result;
}

Result<void> Extractor::add_symlink(const std::string& path, const std::string& target,
                                    const FileMeta& meta) {
  if (path.empty()) return Error{Code::invalid, "the image's root is a link"};
  SKIFF_TRY(const auto at, place(path));
  SKIFF_CHECK(clear(at));
  if (::symlinkat(target.c_str(), at.directory, at.name.c_str()) != 0) {
    return failed("making the link", path);
  }
  if (::fchownat(at.directory, at.name.c_str(), meta.uid, meta.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    errno = 0;  // as in own()
  }
  const timespec times[2] = {meta.modified, meta.modified};
  ::utimensat(at.directory, at.name.c_str(), times, AT_SYMLINK_NOFOLLOW);
  forget_parent();  // its path may lead elsewhere now
  return {};
}

Result<void> Extractor::add_hard_link(const std::string& path, const std::string& target) {
  if (path.empty() || target.empty()) return Error{Code::invalid, "unsafe hard link in the image"};
  if (path == target) return {};
  const auto slash = target.rfind('/');
  const std::string above = slash == std::string::npos ? "" : target.substr(0, slash);
  const std::string name = target.substr(slash == std::string::npos ? 0 : slash + 1);
  SKIFF_TRY(const int from, open_directory(above, false));
  const auto link = [&]() -> Result<void> {
    SKIFF_TRY(const auto at, place(path));
    SKIFF_CHECK(clear(at));
    if (::linkat(from, name.c_str(), at.directory, at.name.c_str(), 0) != 0) {
      return failed("linking to " + target, path);
    }
    return {};
  };
  auto result = link();
  ::close(from);
  return result;
}

Result<void> Extractor::add_fifo(const std::string& path, const FileMeta& meta) {
  if (path.empty()) return Error{Code::invalid, "the image's root is a pipe"};
  SKIFF_TRY(const auto at, place(path));
  SKIFF_CHECK(clear(at));
  if (::mkfifoat(at.directory, at.name.c_str(), meta.mode & 07777U) != 0) {
    return failed("making the pipe", path);
  }
  if (::fchownat(at.directory, at.name.c_str(), meta.uid, meta.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    errno = 0;
  }
  return {};
}

Result<void> Extractor::add_whiteout(const std::string& path) {
  if (path.empty()) return Error{Code::invalid, "the image removes its root"};
  SKIFF_TRY(const auto at, place(path));
  struct stat s {};
  if (::fstatat(at.directory, at.name.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0) {
    // The layer removes and adds the same name: what it adds stands, what was below does not.
    if (S_ISDIR(s.st_mode)) return make_opaque(path);
    return {};
  }
  if (::mknodat(at.directory, at.name.c_str(), S_IFCHR, makedev(0, 0)) != 0) {
    return failed("making the whiteout", path);
  }
  return {};
}

Result<void> Extractor::make_opaque(const std::string& directory) {
  SKIFF_TRY(const int fd, open_directory(directory, true));
  // Only privilege may set trusted.*; overlayfs reads user.* with its option userxattr.
  const char* name = ::geteuid() == 0 ? "trusted.overlay.opaque" : "user.overlay.opaque";
  int done = ::fsetxattr(fd, name, "y", 1, 0);
  if (done != 0 && errno == EPERM) done = ::fsetxattr(fd, "user.overlay.opaque", "y", 1, 0);
  const int number = errno;
  ::close(fd);
  errno = number;
  if (done != 0) return failed("marking the directory opaque", directory);
  return {};
}

Result<void> Extractor::finish() {
  forget_parent();
  std::stable_sort(directories_.begin(), directories_.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  for (const auto& [path, meta] : directories_) {
    // Replaced later by something that is no directory: nothing to do.
    const auto fd = open_directory(path, false);
    if (!fd) continue;
    auto result = set_meta(*fd, meta, path);
    ::close(*fd);
    if (!result) return result.error();
  }
  directories_.clear();
  return {};
}

}  // namespace skiff::runtime
