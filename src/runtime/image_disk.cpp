#include "image_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <set>

#include "skiff/base/log.hpp"

namespace skiff::runtime {
namespace {

namespace fs = std::filesystem;

// Closes what it holds.
class Fd {
 public:
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

Result<void> write_all(int fd, std::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "writing " + path);
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<std::string> read_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "reading " + path);
  std::string text;
  std::array<char, 65'536> buffer{};
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading " + path);
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

// Replaces `path` by way of a temporary file; on the disk when this returns.
Result<void> replace_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".new";
  {
    const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return errno_error(errno, "writing " + temporary);
    SKIFF_CHECK(write_all(fd.get(), content, temporary));
    if (::fsync(fd.get()) != 0) return errno_error(errno, "writing " + temporary);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return errno_error(errno, "writing " + path);
  }
  const Fd directory(
      ::open(fs::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) return errno_error(errno, "writing " + path);
  return {};
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  return names;
}

}  // namespace

void remove_tree(const std::string& path) noexcept {
  std::error_code error;
  fs::remove_all(path, error);
  if (!error) return;
  // Without privilege, directories their owner may not write stand in the way.
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored) && !it->is_symlink(ignored)) {
      fs::permissions(it->path(), fs::perms::owner_all, fs::perm_options::add, ignored);
    }
  }
  fs::remove_all(path, error);
  if (error) log::warn("runtime", "could not remove", {{"path", path}, {"error", error.message()}});
}

Result<std::string> ImageDisk::open() const {
  for (const char* name : {"", "/blobs/sha256", "/layers", "/ingest", "/builtin"}) {
    std::error_code error;
    fs::create_directories(root_ + name, error);
    if (error)
      return errno_error(error.value(), "making the image store's directory " + root_ + name);
  }
  // Layers hold set-user-ID programs of strangers: nobody else on this machine gets near them.
  if (::chmod(root_.c_str(), 0711) != 0) return errno_error(errno, "chmod " + root_);
  if (::chmod((root_ + "/layers").c_str(), 0711) != 0) return errno_error(errno, "chmod layers");
  auto text = read_file(root_ + "/index.json");
  if (!text && text.error().code == Code::not_found) return std::string();
  return text;
}

Result<void> ImageDisk::write_index(const std::string& json) const {
  return replace_file(root_ + "/index.json", json);
}

Result<void> ImageDisk::write_blob(const std::string& hex, std::string_view content) const {
  std::error_code error;
  if (fs::exists(blob_path(hex), error)) return {};
  return replace_file(blob_path(hex), content);
}

Result<std::string> ImageDisk::read_blob(const std::string& hex) const {
  return read_file(blob_path(hex));
}

bool ImageDisk::has_layer(const std::string& diff_id) const {
  std::error_code error;
  return fs::is_directory(layer_path(diff_id), error);
}

Result<NewLayer> ImageDisk::unpack(const ByteSource& source, const std::string& diff_id,
                                   const std::string& packed, const UnpackLimits& limits) const {
  static std::atomic<std::uint64_t> counter{0};
  const std::string directory =
      fmt::format("{}/ingest/unpack-{}-{}", root_, ::getpid(), counter.fetch_add(1));
  if (::mkdir(directory.c_str(), 0755) != 0) return errno_error(errno, "making " + directory);
  auto layer = unpack_layer(source, directory, limits);
  if (layer && !packed.empty() && layer->packed != packed) {
    layer =
        Error{Code::invalid, fmt::format("layer sha256:{} is damaged: its bytes have the digest "
                                         "sha256:{}",
                                         packed, layer->packed)};
  }
  if (layer && layer->diff_id != diff_id) {
    layer = Error{Code::invalid,
                  fmt::format("a layer is damaged: unpacked it has the digest sha256:{}, and the "
                              "image's configuration says sha256:{}",
                              layer->diff_id, diff_id)};
  }
  if (!layer) {
    remove_tree(directory);
    return layer.error();
  }
  if (::rename(directory.c_str(), layer_path(diff_id).c_str()) != 0) {
    const int number = errno;
    remove_tree(directory);
    // Another image brought the same layer meanwhile.
    if (number != EEXIST && number != ENOTEMPTY) return errno_error(number, "placing a layer");
  }
  return NewLayer{diff_id, layer->size};
}

Result<NewLayer> ImageDisk::unpack_file(const std::string& path, const std::string& diff_id,
                                        const std::string& packed,
                                        const UnpackLimits& limits) const {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "reading " + path);
  std::vector<char> buffer(256U << 10U);
  const ByteSource source = [&]() -> Result<std::span<const char>> {
    for (;;) {
      const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_error(errno, "reading " + path);
      return std::span<const char>(buffer.data(), static_cast<std::size_t>(n));
    }
  };
  return unpack(source, diff_id, packed, limits);
}

Result<void> ImageDisk::sync() const {
  const Fd root(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root || ::syncfs(root.get()) != 0) return errno_error(errno, "writing the image store");
  return {};
}

void ImageDisk::remove_layer(const std::string& diff_id) const {
  // Out of sight first: a removal cut short must not leave half a layer in its place.
  const std::string doomed = fmt::format("{}/ingest/removed-{}", root_, diff_id);
  if (::rename(layer_path(diff_id).c_str(), doomed.c_str()) == 0) remove_tree(doomed);
}

std::vector<std::string> ImageDisk::strays(const std::vector<std::string>& layers,
                                           const std::vector<std::string>& blobs,
                                           std::int64_t oldest) const {
  const std::set<std::string> kept_layers(layers.begin(), layers.end());
  const std::set<std::string> kept_blobs(blobs.begin(), blobs.end());
  std::vector<std::string> strays;
  for (const auto& name : names_in(root_ + "/layers")) {
    if (!kept_layers.contains(name)) strays.push_back(layer_path(name));
  }
  for (const auto& name : names_in(root_ + "/blobs/sha256")) {
    if (!kept_blobs.contains(name)) strays.push_back(blob_path(name));
  }
  for (const auto& name : names_in(root_ + "/ingest")) {
    const std::string path = root_ + "/ingest/" + name;
    struct stat s {};
    const bool old = ::stat(path.c_str(), &s) != 0 || s.st_mtime < oldest;
    if (!name.ends_with(".part") || old) strays.push_back(path);
  }
  return strays;
}

Result<std::string> ImageDisk::make_builtin(const std::string& hex,
                                            const std::string& executable) const {
  const std::string directory = builtin_path(hex);
  std::error_code error;
  if (fs::exists(directory + "/skiff", error)) return directory;
  const std::string temporary = fmt::format("{}/ingest/builtin-{}", root_, hex);
  remove_tree(temporary);
  if (::mkdir(temporary.c_str(), 0755) != 0) return errno_error(errno, "making " + temporary);
  const std::string file = temporary + "/skiff";
  struct stat s {};
  if (::stat(executable.c_str(), &s) != 0) return errno_error(errno, "reading " + executable);
  const bool usable = (s.st_mode & 0555U) == 0555U;
  // A link costs nothing; other file systems and odd modes need a copy (shared blocks if they can).
  if (!usable ||
      ::linkat(AT_FDCWD, executable.c_str(), AT_FDCWD, file.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    const Fd from(::open(executable.c_str(), O_RDONLY | O_CLOEXEC));
    if (!from) return errno_error(errno, "reading " + executable);
    const Fd to(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755));
    if (!to) return errno_error(errno, "writing " + file);
    if (::ioctl(to.get(), FICLONE, from.get()) != 0) {
      for (off_t done = 0; done < s.st_size;) {
        const ssize_t n =
            ::sendfile(to.get(), from.get(), nullptr, static_cast<std::size_t>(s.st_size - done));
        if (n <= 0) return errno_error(n == 0 ? EIO : errno, "copying " + executable);
        done += n;
      }
    }
    if (::fchmod(to.get(), 0755) != 0) return errno_error(errno, "writing " + file);
  }
  if (::rename(temporary.c_str(), directory.c_str()) != 0 && errno != EEXIST &&
      errno != ENOTEMPTY) {
    return errno_error(errno, "placing the built-in image");
  }
  return directory;
}

std::vector<std::string> ImageDisk::builtins() const { return names_in(root_ + "/builtin"); }

Result<int> ImageDisk::spool(int fd) const {
  std::string path = root_ + "/ingest/spool-XXXXXX";
  Fd file(::mkostemp(path.data(), O_CLOEXEC));
  if (!file) return errno_error(errno, "making a temporary file in " + root_ + "/ingest");
  ::unlink(path.c_str());
  std::vector<char> buffer(256U << 10U);
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading the archive");
    if (n == 0) break;
    SKIFF_CHECK(
        write_all(file.get(), {buffer.data(), static_cast<std::size_t>(n)}, "the archive's copy"));
  }
  return file.release();
}

}  // namespace skiff::runtime
