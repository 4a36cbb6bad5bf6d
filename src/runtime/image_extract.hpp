// Writing a stranger's file tree into a directory without ever leaving it. Blocking.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/base/result.hpp"

namespace skiff::runtime {

struct FileMeta {
  mode_t mode = 0755;
  std::uint32_t uid = 0, gid = 0;
  timespec modified{};
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// "a/b" for "./a//b/", "/a/b" and "a/x/../b"; "" for the root itself. Code::invalid for a name that
// climbs out or holds a NUL byte.
Result<std::string> clean_path(std::string_view path, std::size_t max_bytes = 4096);

class Extractor {
 public:
  // Opens an existing directory.
  static Result<Extractor> open(const std::string& directory);
  Extractor(Extractor&& other) noexcept;
  Extractor& operator=(Extractor&&) = delete;
  ~Extractor();

  // Paths are clean_path()'s. Missing parents are made; links in a parent are followed beneath the
  // directory only; what stands at the path is replaced, except that a directory takes in a
  // directory.
  Result<void> add_directory(const std::string& path, const FileMeta& meta);
  // An open file to write to; end_file() gives it its owner and mode and closes it.
  Result<int> begin_file(const std::string& path);
  Result<void> end_file(int fd, const FileMeta& meta);
  Result<void> add_symlink(const std::string& path, const std::string& target,
                           const FileMeta& meta);
  // `target` is a clean path of something extracted before.
  Result<void> add_hard_link(const std::string& path, const std::string& target);
  Result<void> add_fifo(const std::string& path, const FileMeta& meta);
  // Hides what lower layers have at `path`.
  Result<void> add_whiteout(const std::string& path);
  // Hides everything lower layers have in the directory.
  Result<void> make_opaque(const std::string& directory);
  // Directories get their owners, modes and times last: what they hold would have changed them.
  Result<void> finish();

 private:
  struct Place {
    int directory;  // borrowed
    std::string name;
  };
  explicit Extractor(int root) noexcept : root_(root) {}
  Result<int> open_directory(const std::string& path, bool create);
  Result<int> walk(const std::string& path);
  Result<Place> place(const std::string& path);
  // Takes away what is at the place; `whiteout` reports that it was one.
  Result<void> clear(const Place& place, bool* whiteout = nullptr);
  void forget_parent() noexcept;

  int root_;
  std::string parent_path_;
  int parent_ = -1;
  std::vector<std::pair<std::string, FileMeta>> directories_;
};

}  // namespace skiff::runtime
