#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "volumes.hpp"

namespace skiff::kubelet {
namespace {

namespace fs = std::filesystem;

using FileMap = std::map<std::string, std::pair<std::string, int>>;

Result<void> write_file(const fs::path& path, const std::string& content, int mode,
                        std::int64_t group) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error(errno, "open " + path.string());
  std::size_t done = 0;
  int error = 0;
  while (done < content.size() && error == 0) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno != EINTR) error = errno;
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  if (error == 0 && group >= 0) {
    // As upstream: the group may read what the owner may read.
    mode |= (mode & 0600) >> 3;
    if (::fchown(fd, static_cast<uid_t>(-1), static_cast<gid_t>(group)) != 0) error = errno;
  }
  if (error == 0 && ::fchmod(fd, static_cast<mode_t>(mode)) != 0) error = errno;
  ::close(fd);
  if (error != 0) return errno_error(error, "write " + path.string());
  return {};
}

bool holds_already(const fs::path& data, const FileMap& files) {
  std::error_code ec;
  std::size_t found = 0;
  for (fs::recursive_directory_iterator it(data, ec), end; !ec && it != end; it.increment(ec)) {
    if (!it->is_regular_file(ec)) continue;
    const auto file = files.find(it->path().lexically_relative(data).string());
    if (file == files.end() || it->file_size(ec) != file->second.first.size()) return false;
    std::string content(file->second.first.size(), '\0');
    const int fd = ::open(it->path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = ::read(fd, content.data(), content.size());
    ::close(fd);
    if (n != static_cast<ssize_t>(content.size()) || content != file->second.first) return false;
    ++found;
  }
  return !ec && found == files.size();
}

// The first path components, which are what shows in the volume as links into ..data.
std::set<std::string> top_names(const FileMap& files) {
  std::set<std::string> out;
  for (const auto& [path, file] : files) out.insert(path.substr(0, path.find('/')));
  return out;
}

Result<void> link_names(const fs::path& directory, const std::set<std::string>& names) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    const std::string name = entry.path().filename();
    if (entry.is_symlink() && name.rfind("..", 0) != 0 && !names.contains(name)) {
      fs::remove(entry.path(), ec);
    }
  }
  for (const std::string& name : names) {
    const fs::path link = directory / name;
    if (fs::is_symlink(fs::symlink_status(link, ec))) continue;
    fs::create_symlink(fs::path("..data") / name, link, ec);
    if (ec) return errno_error(ec.value(), "link " + link.string());
  }
  return {};
}

}  // namespace

Result<void> write_atomically(const std::string& directory, const FileMap& files,
                              std::int64_t fs_group) {
  const fs::path root(directory);
  const fs::path data = root / "..data";
  std::error_code ec;
  fs::create_directories(root, ec);
  if (ec) return errno_error(ec.value(), "mkdir " + directory);
  if (fs::exists(data, ec) && holds_already(data, files)) return {};

  std::string fresh = (root / "..XXXXXX").string();
  if (::mkdtemp(fresh.data()) == nullptr) return errno_error(errno, "mkdir " + fresh);
  fs::permissions(fresh, fs::perms(0755), ec);
  for (const auto& [path, file] : files) {
    const fs::path target = fs::path(fresh) / path;
    fs::create_directories(target.parent_path(), ec);
    SKIFF_CHECK(write_file(target, file.first, file.second, fs_group));
  }
  const fs::path old =
      fs::is_symlink(fs::symlink_status(data, ec)) ? fs::read_symlink(data, ec) : fs::path();
  const fs::path temporary = root / "..data_tmp";
  fs::remove(temporary, ec);
  fs::create_symlink(fs::path(fresh).filename(), temporary, ec);
  if (ec) return errno_error(ec.value(), "link " + temporary.string());
  fs::rename(temporary, data, ec);
  if (ec) return errno_error(ec.value(), "rename " + data.string());
  SKIFF_CHECK(link_names(root, top_names(files)));
  if (!old.empty()) fs::remove_all(root / old, ec);
  return {};
}

}  // namespace skiff::kubelet
