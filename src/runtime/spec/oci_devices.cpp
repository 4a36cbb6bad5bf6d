#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "oci_config.hpp"

namespace skiff::runtime {
namespace {

HostDevice from_stat(const struct stat& st, std::string path) {
  HostDevice d;
  d.path = std::move(path);
  d.type = S_ISBLK(st.st_mode) ? 'b' : 'c';
  d.major = major(st.st_rdev);
  d.minor = minor(st.st_rdev);
  d.mode = st.st_mode & 07777U;
  d.uid = st.st_uid;
  d.gid = st.st_gid;
  return d;
}

void gather(const std::string& directory, int depth, std::vector<HostDevice>& out) {
  DIR* dir = ::opendir(directory.c_str());
  if (!dir) return;
  while (dirent* entry = ::readdir(dir)) {
    std::string name = entry->d_name;
    if (name == "." || name == ".." || name == "pts" || name == "shm" || name == "fd" ||
        name == "mqueue" || name == "console" || name == ".lxc" || name == ".lxd-mounts" ||
        name == ".udev") {
      continue;
    }
    std::string path = directory + "/" + name;
    struct stat st;
    if (::lstat(path.c_str(), &st) != 0) continue;
    constexpr int max_depth = 4;
    if (S_ISDIR(st.st_mode) && depth < max_depth) gather(path, depth + 1, out);
    if (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) out.push_back(from_stat(st, path));
  }
  ::closedir(dir);
}

}  // namespace

Result<HostDevice> find_device(const Device& device) {
  struct stat st;
  if (::stat(device.host_path.c_str(), &st) != 0) {
    return errno_error(errno, "device " + device.host_path);
  }
  if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode)) {
    return Error{Code::invalid, device.host_path + " is not a device node"};
  }
  auto d = from_stat(st, device.container_path.empty() ? device.host_path : device.container_path);
  d.access = device.permissions;
  return d;
}

std::vector<HostDevice> all_host_devices() {
  std::vector<HostDevice> out;
  gather("/dev", 0, out);
  return out;
}

}  // namespace skiff::runtime
