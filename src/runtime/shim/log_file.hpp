// A container's log file, rotated by size: FILE is renamed to FILE.YYYYMMDD-HHMMSS (as kubelets
// name them) and started anew; the oldest are removed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace skiff::runtime::shim {

class LogFile {
 public:
  // An empty path throws everything away. max_bytes 0: never rotated.
  LogFile(std::string path, std::uint64_t max_bytes, unsigned max_files);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // 0 or a negative errno.
  int open();
  int reopen();
  // Whole lines. What the disk does not take is lost: a container is never held up by its log.
  void write(std::string_view lines, std::int64_t now);

 private:
  void rotate(std::int64_t now);
  void remove_oldest() const;

  std::string path_;
  std::uint64_t max_bytes_;
  unsigned max_files_;
  std::uint64_t size_ = 0;
  int fd_ = -1;
};

// "20261123-181548", UTC.
std::string rotation_suffix(std::int64_t unix_nanoseconds);

}  // namespace skiff::runtime::shim
