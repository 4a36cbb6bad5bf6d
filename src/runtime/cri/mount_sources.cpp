// Where volumes come from on the host.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "files.hpp"
#include "shim_client.hpp"

namespace skiff::runtime {
namespace {

constexpr std::uint64_t inside = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;

int open_inside(int root, const std::string& path) {
  return sys::real_system().open_at(root, path.c_str(), O_PATH, 0, inside);
}

// Opens `path` inside `root`, making missing directories with the volume's own mode.
int open_or_make(int root, const std::string& path, mode_t mode) {
  int fd = open_inside(root, path);
  if (fd != -ENOENT) return fd;
  auto slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  OwnedFd above(slash == std::string::npos ? ::fcntl(root, F_DUPFD_CLOEXEC, 3)
                                           : open_or_make(root, path.substr(0, slash), mode));
  if (!above) return -ENOENT;
  int r = sys::real_system().make_directory_at(above.get(), name.c_str(), mode);
  if (r < 0 && r != -EEXIST) return r;
  return open_inside(root, path);
}

Result<std::string> resolve_sub_path(const Mount& m) {
  auto failed = [&m](int error) {
    return Error{Code::invalid,
                 "failed to prepare subPath for volumeMount \"" + m.container_path +
                     "\": subPath \"" + m.sub_path + "\": " +
                     (error == -EXDEV ? "it leads out of the volume" : sys::error_text(error))};
  };
  std::string sub = m.sub_path;
  while (sub.ends_with('/')) sub.pop_back();
  OwnedFd root(::open(m.host_path.c_str(), O_PATH | O_CLOEXEC));
  if (!root) return errno_error(errno, "volume " + m.host_path);
  struct stat st;
  mode_t mode = ::fstat(root.get(), &st) == 0 ? st.st_mode & 0777U : 0750U;
  int opened = open_or_make(root.get(), sub, mode);
  if (opened < 0) return failed(opened);
  OwnedFd fd(opened);
  std::string canonical;
  int r = sys::real_system().read_link(
      AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd.get())).c_str(), canonical);
  if (r < 0) return failed(r);
  return canonical;
}

// The mount that `path` is on must be shared for mounts to travel in both directions.
Result<void> check_shared(const std::string& path) {
  SKIFF_TRY(std::string text, read_text("/proc/self/mountinfo", 16U << 20U));
  sys::MountEntry best;
  for (auto& entry : sys::parse_mountinfo(text)) {
    const auto& point = entry.mount_point;
    bool holds =
        point == "/" || path == point ||
        (path.starts_with(point) && path.size() > point.size() && path[point.size()] == '/');
    if (holds && point.size() >= best.mount_point.size()) best = std::move(entry);
  }
  if (best.shared) return {};
  return Error{Code::invalid, "path \"" + path + "\" is mounted on \"" + best.mount_point +
                                  "\" but it is not a shared mount"};
}

}  // namespace

Result<std::vector<Mount>> resolve_mounts(const std::vector<Mount>& mounts,
                                          std::vector<std::string>& canonical) {
  std::vector<Mount> out = mounts;
  for (auto& m : out) {
    if (!m.container_path.starts_with('/')) m.container_path.insert(0, "/");
    while (m.container_path.size() > 1 && m.container_path.ends_with('/')) {
      m.container_path.pop_back();
    }
    if (!m.sub_path.empty()) {
      SKIFF_TRY(m.host_path, resolve_sub_path(m));
      canonical.push_back(m.host_path);
    } else if (::access(m.host_path.c_str(), F_OK) != 0) {
      // As other CRI runtimes do; what needs to exist was checked by the kubelet.
      SKIFF_CHECK(make_directories(m.host_path));
    }
    if (m.propagation == Propagation::bidirectional) SKIFF_CHECK(check_shared(m.host_path));
  }
  return out;
}

}  // namespace skiff::runtime
