#include "files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace skiff::runtime {

namespace fs = std::filesystem;

std::string pod_group(const SandboxConfig& config) {
  return "pods/" + config.qos_class + "/" + config.uid;
}

std::string container_group(const SandboxConfig& config, const std::string& container_id) {
  return pod_group(config) + "/" + container_id;
}

Result<std::string> read_text(const std::string& path, std::size_t limit) {
  std::string text;
  int r = sys::real_system().read_file(path.c_str(), text, limit);
  if (r < 0) return errno_error(-r, "reading " + path);
  return text;
}

Result<void> write_text(const std::string& path, std::string_view text) {
  std::string temporary = path + ".tmp";
  int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return errno_error(errno, "writing " + temporary);
  int error = ::fchmod(fd, 0644) == 0 ? 0 : errno;  // whatever the umask: containers read some
  while (!text.empty() && error == 0) {
    ssize_t n = ::write(fd, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  ::close(fd);
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(temporary.c_str());
  return errno_error(error, "writing " + path);
}

Result<void> make_directories(const std::string& path, unsigned mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  auto slash = path.rfind('/');
  if (errno != ENOENT || slash == 0 || slash == std::string::npos) {
    return errno_error(errno, "making the directory " + path);
  }
  SKIFF_CHECK(make_directories(path.substr(0, slash), mode));
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  return errno_error(errno, "making the directory " + path);
}

Result<void> remove_all(const std::string& path) {
  // A file that somebody else removes, or makes, meanwhile stops the walk: once more, then.
  std::error_code ec;
  constexpr int attempts = 3;
  for (int i = 0; i < attempts; ++i) {
    fs::remove_all(path, ec);
    if (!ec) break;
  }
  if (ec) return errno_error(ec.value(), "removing " + path);
  return {};
}

std::uint64_t disk_usage(const std::string& path) {
  std::uint64_t total = 0;
  std::error_code ec;
  fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, ec);
  for (; !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    struct stat st;
    if (::lstat(it->path().c_str(), &st) == 0) {
      constexpr std::uint64_t block = 512;
      total += static_cast<std::uint64_t>(st.st_blocks) * block;
    }
  }
  return total;
}

sys::CgroupLimits cgroup_limits(const Resources& r) {
  sys::CgroupLimits limits;
  limits.cpu_shares = r.cpu_shares;
  limits.cpu_quota_us = r.cpu_quota_us;
  limits.cpu_period_us = r.cpu_period_us;
  limits.memory_bytes = r.memory_limit_bytes;
  limits.memory_min_bytes = r.memory_request_bytes;
  limits.pids = r.pids_limit;
  return limits;
}

ExitRecord parse_exit_record(std::string_view text) {
  ExitRecord record;
  while (!text.empty()) {
    auto end = text.find('\n');
    auto line = text.substr(0, end);
    auto equals = line.find('=');
    if (equals == std::string_view::npos) break;
    auto key = line.substr(0, equals);
    auto value = line.substr(equals + 1);
    if (key == "message") {
      record.message = text.substr(equals + 1);
      while (record.message.ends_with('\n')) record.message.pop_back();
      break;
    }
    std::int64_t n = 0;
    std::from_chars(value.data(), value.data() + value.size(), n);
    if (key == "pid") record.pid = static_cast<int>(n);
    if (key == "started_at") record.started_at = n;
    if (key == "finished_at") record.finished_at = n;
    if (key == "exit_code") record.exit_code = static_cast<int>(n);
    if (key == "signal") record.signal = static_cast<int>(n);
    if (key == "oom") record.oom = n != 0;
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return record;
}

}  // namespace skiff::runtime
