#include "logs.hpp"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>

namespace skiff::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunk = 64 << 10;

struct Line {
  std::string_view time;
  std::string_view stream;
  bool partial = false;
  std::string_view text;  // without the newline
};

std::optional<Line> parse(std::string_view raw) {
  Line line;
  const std::size_t a = raw.find(' ');
  const std::size_t b = a == std::string_view::npos ? a : raw.find(' ', a + 1);
  const std::size_t c = b == std::string_view::npos ? b : raw.find(' ', b + 1);
  if (c == std::string_view::npos) return std::nullopt;
  line.time = raw.substr(0, a);
  line.stream = raw.substr(a + 1, b - a - 1);
  line.partial = raw.substr(b + 1, c - b - 1).substr(0, 1) == "P";
  line.text = raw.substr(c + 1);
  return line;
}

// Turns raw log bytes into what the reader asked for.
class Formatter {
 public:
  explicit Formatter(LogOptions options) : options_(std::move(options)) {}

  // Appends to `out`; false when the byte limit is reached.
  bool feed(std::string_view bytes, std::string& out) {
    pending_.append(bytes);
    std::size_t start = 0;
    for (std::size_t end = pending_.find('\n'); end != std::string::npos && !full();
         end = pending_.find('\n', start)) {
      emit(std::string_view(pending_).substr(start, end - start), out);
      start = end + 1;
    }
    pending_.erase(0, start);
    return !full();
  }

 private:
  bool full() const { return options_.limit_bytes && written_ >= *options_.limit_bytes; }

  bool wanted(const Line& line) {
    if (options_.stream == "Stdout" && line.stream != "stdout") return false;
    if (options_.stream == "Stderr" && line.stream != "stderr") return false;
    if (!options_.since || since_reached_) return true;
    const auto time = parse_time(line.time);
    since_reached_ = time && *time >= *options_.since;
    return since_reached_;
  }

  void emit(std::string_view raw, std::string& out) {
    const auto line = parse(raw);
    if (!line || !wanted(*line)) return;
    std::string text;
    if (options_.timestamps && !in_partial_) text.append(line->time).append(" ");
    text.append(line->text);
    if (!line->partial) text += '\n';
    in_partial_ = line->partial;
    if (options_.limit_bytes) {
      text.resize(std::min<std::size_t>(
          text.size(), static_cast<std::size_t>(*options_.limit_bytes - written_)));
    }
    written_ += static_cast<std::int64_t>(text.size());
    out += text;
  }

  LogOptions options_;
  std::string pending_;
  std::int64_t written_ = 0;
  bool since_reached_ = false;
  bool in_partial_ = false;
};

// Rotated files of `path` ("0.log.20261123-181548"), oldest first, then `path` itself.
std::vector<std::string> files_of(const std::string& path) {
  std::vector<std::string> out;
  std::error_code ec;
  const std::string prefix = fs::path(path).filename().string() + ".";
  for (const auto& entry : fs::directory_iterator(fs::path(path).parent_path(), ec)) {
    const std::string name = entry.path().filename();
    if (name.rfind(prefix, 0) == 0 && name.find(".gz") == std::string::npos &&
        name.find(".tmp") == std::string::npos) {
      out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  out.push_back(path);
  return out;
}

// Where the last `lines` full lines of a file begin.
std::int64_t tail_offset(int fd, std::int64_t lines) {
  struct stat st {};
  if (::fstat(fd, &st) != 0 || lines <= 0) return st.st_size;
  std::string buffer(kChunk, '\0');
  std::int64_t pos = st.st_size;
  std::int64_t seen = 0;
  while (pos > 0) {
    const auto n = static_cast<std::size_t>(std::min<std::int64_t>(pos, kChunk));
    pos -= static_cast<std::int64_t>(n);
    if (::pread(fd, buffer.data(), n, pos) != static_cast<ssize_t>(n)) return 0;
    for (std::size_t i = n; i-- > 0;) {
      const bool last_byte = pos + static_cast<std::int64_t>(i) == st.st_size - 1;
      if (buffer[i] == '\n' && !last_byte && ++seen == lines) {
        return pos + static_cast<std::int64_t>(i) + 1;
      }
    }
  }
  return 0;
}

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Fd& operator=(Fd&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// Waits for writes to, or renames in, the log's directory.
class DirectoryWatch {
 public:
  DirectoryWatch(const Executor& executor, const std::string& directory)
      : descriptor_(executor, ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    ::inotify_add_watch(descriptor_.native_handle(), directory.c_str(),
                        IN_MODIFY | IN_CREATE | IN_MOVED_TO);
  }
  Task<void> wait() {
    boost::system::error_code ec;
    co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                                    asio::redirect_error(asio::use_awaitable, ec));
    char buffer[4096];
    while (::read(descriptor_.native_handle(), buffer, sizeof buffer) > 0) {
    }
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

bool renamed_away(int fd, const std::string& path) {
  struct stat open_file {};
  struct stat named {};
  if (::fstat(fd, &open_file) != 0 || ::stat(path.c_str(), &named) != 0) return false;
  return open_file.st_ino != named.st_ino || open_file.st_dev != named.st_dev;
}

}  // namespace

std::string log_tail(const std::string& path, std::size_t lines, std::size_t bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return "";
  std::int64_t offset = tail_offset(fd.get(), static_cast<std::int64_t>(lines));
  Formatter formatter(LogOptions{});
  std::string out;
  std::string buffer(kChunk, '\0');
  for (;;) {
    const ssize_t n = ::pread(fd.get(), buffer.data(), buffer.size(), offset);
    if (n <= 0) break;
    offset += n;
    formatter.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)), out);
    if (out.size() > 2 * bytes) out.erase(0, out.size() - bytes);
  }
  if (out.size() > bytes) out.erase(0, out.size() - bytes);
  return out;
}

Task<Result<void>> read_log(Env env, std::string path, LogOptions options,
                            std::function<bool()> running,
                            std::function<Task<bool>(std::string)> write) {
  std::vector<std::string> files = files_of(path);
  DirectoryWatch watch(env.executor, fs::path(path).parent_path());
  Formatter formatter(options);
  std::string buffer(kChunk, '\0');
  // A tail is taken from the newest file alone, as upstream does.
  if (options.tail_lines) files.erase(files.begin(), files.end() - 1);
  for (std::size_t i = 0; i < files.size();) {
    Fd fd(::open(files[i].c_str(), O_RDONLY | O_CLOEXEC));
    const bool newest = i + 1 == files.size();
    if (fd.get() < 0 && (!newest || !options.follow)) {
      ++i;
      continue;
    }
    std::int64_t offset = options.tail_lines && newest && fd.get() >= 0
                              ? tail_offset(fd.get(), *options.tail_lines)
                              : 0;
    options.tail_lines.reset();
    for (;;) {
      const bool alive = running();  // before the read: what is written until the end is read then
      const ssize_t n = fd.get() < 0 ? 0 : ::pread(fd.get(), buffer.data(), buffer.size(), offset);
      if (n < 0) co_return errno_error(errno, "read " + files[i]);
      if (n > 0) {
        offset += n;
        std::string out;
        const bool more =
            formatter.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)), out);
        if (!out.empty() && !co_await write(std::move(out))) co_return Result<void>();
        if (!more) co_return Result<void>();
        continue;
      }
      if (!newest || !options.follow || !alive) break;
      if (fd.get() < 0 || renamed_away(fd.get(), path)) {
        fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        offset = 0;
        if (fd.get() >= 0) continue;
      }
      // The end of a container makes no noise in its log: look up now and then.
      co_await race(watch.wait(), env.clock->sleep_for(1s));
    }
    ++i;
  }
  co_return Result<void>();
}

}  // namespace skiff::kubelet
