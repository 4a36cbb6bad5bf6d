// Keys and certificates on disk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "skiff/pki/certificate.hpp"

namespace skiff::pki {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kPrivate = 0600;
constexpr mode_t kPublic = 0644;
constexpr std::size_t kMaxFile = 4 * 1024 * 1024;

struct File {
  int fd = -1;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

Result<void> make_directory(const fs::path& directory) {
  if (directory.empty() || fs::is_directory(directory)) return {};
  SKIFF_CHECK(make_directory(directory.parent_path()));
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, "cannot make the directory " + directory.string());
  }
  return {};
}

Result<void> write_and_sync(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "cannot write " + path);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fsync(fd) != 0) return errno_error(errno, "cannot write " + path);
  return {};
}

Result<void> write_file(const std::string& path, std::string_view bytes, mode_t mode) {
  const fs::path target(path);
  SKIFF_CHECK(make_directory(target.parent_path()));
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());  // left over from a crash; its mode may be another
  Result<void> written;
  {
    const File file{
        ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)};
    if (file.fd < 0) return errno_error(errno, "cannot create " + fresh);
    ::fchmod(file.fd, mode);  // whatever the umask is
    written = write_and_sync(file.fd, bytes, fresh);
  }
  if (written && ::rename(fresh.c_str(), path.c_str()) != 0) {
    written = errno_error(errno, "cannot rename " + fresh + " to " + path);
  }
  if (!written) {
    ::unlink(fresh.c_str());
    return written;
  }
  const std::string parent = target.parent_path().empty() ? "." : target.parent_path().string();
  const File directory{::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd >= 0) ::fsync(directory.fd);  // the rename itself
  return {};
}

}  // namespace

Result<void> write_private_file(const std::string& path, std::string_view bytes) {
  return write_file(path, bytes, kPrivate);
}

Result<void> write_public_file(const std::string& path, std::string_view bytes) {
  return write_file(path, bytes, kPublic);
}

Result<std::string> read_file(const std::string& path) {
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return errno_error(errno, "cannot open " + path);
  std::string out;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t n = ::read(file.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "cannot read " + path);
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (out.size() > kMaxFile) {
      return Error{Code::too_large, path + " is too large to be a key or a certificate"};
    }
  }
}

Result<void> save_key_pair(const std::string& directory, const std::string& name,
                           const KeyPair& pair) {
  // The key first: a certificate without its key is what a crash must not leave behind.
  SKIFF_CHECK(write_private_file(directory + "/" + name + ".key", pair.key_pem));
  return write_public_file(directory + "/" + name + ".crt", pair.certificate_pem);
}

Result<KeyPair> load_key_pair(const std::string& directory, const std::string& name) {
  const std::string certificate_path = directory + "/" + name + ".crt";
  const std::string key_path = directory + "/" + name + ".key";
  auto certificate = read_file(certificate_path);
  auto key = read_file(key_path);
  const auto missing = [](const Result<std::string>& r) {
    return !r && r.error().code == Code::not_found;
  };
  if (missing(certificate) && missing(key)) {
    return Error{Code::not_found, "there is no " + certificate_path};
  }
  if (missing(certificate) || missing(key)) {
    const std::string& gone = missing(key) ? key_path : certificate_path;
    return Error{Code::conflict, gone +
                                     " is missing: restore it, or remove its other half to have "
                                     "both made anew"};
  }
  if (!certificate) return certificate.error();
  if (!key) return key.error();
  const auto parsed = Certificate::from_pem(*certificate);
  if (!parsed) return annotate(parsed.error(), certificate_path);
  auto private_key = PrivateKey::from_pem(*key);
  if (!private_key) return annotate(private_key.error(), key_path);
  if (parsed->public_key().id() != private_key->public_key().id()) {
    return Error{Code::conflict, key_path + " does not belong to " + certificate_path +
                                     ": restore the right one, or remove both to have them made "
                                     "anew"};
  }
  return KeyPair{std::move(*certificate), std::move(*key)};
}

}  // namespace skiff::pki
