#include "log_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <vector>

namespace skiff::runtime::shim {

LogFile::LogFile(std::string path, std::uint64_t max_bytes, unsigned max_files)
    : path_(std::move(path)), max_bytes_(max_bytes), max_files_(std::max(max_files, 2U)) {}

LogFile::~LogFile() {
  if (fd_ >= 0) ::close(fd_);
}

int LogFile::open() {
  if (path_.empty()) return 0;
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd_ < 0) return -errno;
  struct stat st;
  size_ = ::fstat(fd_, &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
  return 0;
}

int LogFile::reopen() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  return open();
}

void LogFile::write(std::string_view lines, std::int64_t now) {
  if (fd_ < 0) return;
  while (!lines.empty()) {
    ssize_t n = ::write(fd_, lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    size_ += static_cast<std::uint64_t>(n);
    lines.remove_prefix(static_cast<std::size_t>(n));
  }
  if (max_bytes_ > 0 && size_ >= max_bytes_) rotate(now);
}

std::string rotation_suffix(std::int64_t unix_nanoseconds) {
  std::time_t seconds = unix_nanoseconds / 1'000'000'000;
  std::tm tm{};
  ::gmtime_r(&seconds, &tm);
  char text[32];
  std::size_t n = std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &tm);
  return std::string(text, n);
}

void LogFile::rotate(std::int64_t now) {
  std::string old = path_ + "." + rotation_suffix(now);
  // Names have seconds: a second rotation within one waits, rather than overwrite the first.
  if (::access(old.c_str(), F_OK) == 0) return;
  if (::rename(path_.c_str(), old.c_str()) != 0 && errno != ENOENT) return;
  reopen();
  remove_oldest();
}

void LogFile::remove_oldest() const {
  auto slash = path_.rfind('/');
  std::string directory = path_.substr(0, slash);
  std::string prefix = path_.substr(slash + 1) + ".";
  DIR* dir = ::opendir(directory.c_str());
  if (!dir) return;
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir)) {
    std::string_view name = entry->d_name;
    if (name.starts_with(prefix)) names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  const std::size_t keep = max_files_ - 1;  // beside the one being written
  for (std::size_t i = 0; i + keep < names.size(); ++i) {
    ::unlinkat(::dirfd(dir), names[i].c_str(), 0);
  }
  ::closedir(dir);
}

}  // namespace skiff::runtime::shim
