#include "segments.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace skiff::raft {
namespace {

// File: magic, format, sequence number, where the file before ends, checksum; then records. Record:
// size, sequence number of its file, checksum, bytes, zeros to a multiple of 8.
constexpr std::string_view kMagic = "skiffrft";
constexpr std::uint32_t kFormat = 1;
constexpr std::size_t kFileHeader = 40;
constexpr std::size_t kRecordHeader = 24;
constexpr std::string_view kPrefix = "entries-";

std::size_t padded(std::size_t n) { return (n + 7) & ~std::size_t{7}; }

std::string file_header(std::uint64_t seq, std::uint64_t previous_end) {
  std::string out(kMagic);
  put_fixed32(out, kFormat);
  put_fixed32(out, 0);
  put_fixed64(out, seq);
  put_fixed64(out, previous_end);
  put_fixed64(out, checksum64(out));
  return out;
}

std::string record(std::uint64_t seq, std::string_view payload) {
  std::string out;
  out.reserve(kRecordHeader + padded(payload.size()));
  put_fixed64(out, payload.size());
  put_fixed64(out, seq);
  put_fixed64(out, checksum64(payload, seq ^ payload.size()));
  out.append(payload);
  out.resize(kRecordHeader + padded(payload.size()), '\0');
  return out;
}

// The record at `at`, if there is a whole one of this file.
std::optional<std::string_view> record_at(std::string_view file, std::size_t at,
                                          std::uint64_t seq) {
  if (at + kRecordHeader > file.size()) return std::nullopt;
  const std::uint64_t size = get_fixed(file.data() + at, 8);
  if (size == 0 || size > file.size() - at - kRecordHeader) return std::nullopt;
  if (get_fixed(file.data() + at + 8, 8) != seq) return std::nullopt;
  const std::string_view payload = file.substr(at + kRecordHeader, size);
  if (get_fixed(file.data() + at + 16, 8) != checksum64(payload, seq ^ size)) return std::nullopt;
  return payload;
}

bool any_record_after(std::string_view file, std::size_t at, std::uint64_t seq) {
  for (at = padded(at + 1); at + kRecordHeader <= file.size(); at += 8) {
    if (get_fixed(file.data() + at + 8, 8) == seq && record_at(file, at, seq)) return true;
  }
  return false;
}

Error disk_error(int number, const std::string& what) {
  Error error = errno_error(number, what);
  error.code = Code::unavailable;
  if (number == ENOSPC || number == EDQUOT) {
    error.message = what + ": the disk is full; writes go on by themselves when there is room";
  }
  return error;
}

}  // namespace

Result<std::unique_ptr<Segments>> Segments::open(EntriesOptions options, Meter meter) {
  if (::mkdir(options.directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, options.directory);
  }
  std::unique_ptr<Segments> out(new Segments(std::move(options), std::move(meter)));
  const std::string lock = out->options_.directory + "/lock";
  out->lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (out->lock_ < 0) return errno_error(errno, lock);
  if (::flock(out->lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error(errno, lock + " cannot be locked");
    return Error{Code::conflict, out->options_.directory + " is in use by another skiff"};
  }
  return out;
}

Segments::~Segments() {
  if (file_ >= 0) ::close(file_);
  if (lock_ >= 0) ::close(lock_);
}

std::string Segments::path(std::uint64_t seq) const {
  char name[17];
  std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(seq));
  return options_.directory + "/" + std::string(kPrefix) + name;
}

Result<void> Segments::list() {
  DIR* directory = ::opendir(options_.directory.c_str());
  if (directory == nullptr) return errno_error(errno, options_.directory);
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(kPrefix) || name.size() != kPrefix.size() + 16) continue;
    Segment segment;
    segment.seq = std::strtoull(entry->d_name + kPrefix.size(), nullptr, 16);
    if (segment.seq != 0) segments_.push_back(segment);
  }
  ::closedir(directory);
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& a, const Segment& b) { return a.seq < b.seq; });
  for (std::size_t i = 1; i < segments_.size(); ++i) {
    if (segments_[i].seq != segments_[i - 1].seq + 1) {
      return Error{Code::internal, path(segments_[i - 1].seq + 1) +
                                       " is missing: remove this server from the cluster, empty "
                                       "its data directory and let it join again"};
    }
  }
  return {};
}

Result<std::string> Segments::read_file(const std::string& path) const {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, path);
  struct stat info {};
  std::string out;
  if (::fstat(fd, &info) == 0) out.resize(static_cast<std::size_t>(info.st_size));
  std::size_t at = 0;
  while (at < out.size()) {
    const ssize_t n = ::pread(fd, out.data() + at, out.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int number = errno;
      ::close(fd);
      return errno_error(number, path);
    }
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  ::close(fd);
  out.resize(at);
  return out;
}

// False: the newest file was begun and never used. `previous_end`: what the file after this one
// says of it; 0 for the newest.
Result<bool> Segments::read_segment(Segment& segment, bool newest, std::size_t& previous_end,
                                    Entries::Loaded& loaded) {
  const std::string name = path(segment.seq);
  const Error bad{Code::internal,
                  name +
                      " is damaged: remove this server from the cluster, empty its data "
                      "directory and let it join again"};
  SKIFF_TRY(const auto file, read_file(name));
  if (file.size() < kFileHeader ||
      file.compare(0, kFileHeader - 8, file_header(segment.seq, get_fixed(file.data() + 24, 8)), 0,
                   kFileHeader - 8) != 0 ||
      get_fixed(file.data() + 32, 8) != checksum64(std::string_view(file).substr(0, 32))) {
    if (file.size() >= 16 && file.starts_with(kMagic) && get_fixed(file.data() + 8, 4) > kFormat) {
      return Error{Code::internal, name + " was written by a newer skiff: update this one"};
    }
    // A file that was taken into use when the machine stopped still is what it was before.
    const bool unused = file.find_first_not_of('\0') == file.npos ||
                        (file.size() >= kFileHeader && file.starts_with(kMagic) &&
                         get_fixed(file.data() + 16, 8) < segment.seq);
    if (newest && unused) return false;
    return bad;
  }
  std::size_t at = kFileHeader;
  const std::size_t must = previous_end;
  previous_end = get_fixed(file.data() + 24, 8);
  while (must == 0 || at < must) {
    const auto payload = record_at(file, at, segment.seq);
    if (!payload) break;
    SKIFF_TRY(auto batch, decode_batch(*payload));
    if (!batch.entries.empty()) {
      segment.newest = std::max<Index>(segment.newest, batch.first + batch.entries.size() - 1);
    }
    if (!apply_batch(loaded, std::move(batch))) return bad;
    at += kRecordHeader + padded(payload->size());
  }
  if (must != 0 ? at != must : any_record_after(file, at, segment.seq)) return bad;
  // Not even its first record is whole: nothing in it was acknowledged.
  if (newest && at == kFileHeader) return false;
  segment.end = at;
  if (newest) capacity_ = file.size();
  return true;
}

Result<Entries::Loaded> Segments::load() {
  SKIFF_CHECK(list());
  Entries::Loaded loaded;
  // Each file says where the one before it ends, so that is read first.
  std::vector<std::size_t> ends(segments_.size() + 1, 0);
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    SKIFF_TRY(const auto file, read_file(path(segments_[i].seq)));
    if (file.size() >= kFileHeader && get_fixed(file.data() + 16, 8) == segments_[i].seq) {
      ends[i] = get_fixed(file.data() + 24, 8);
    }
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const bool newest = i + 1 == segments_.size();
    std::size_t end = newest ? 0 : ends[i + 1];
    SKIFF_TRY(const bool used, read_segment(segments_[i], newest, end, loaded));
    if (used) continue;
    const std::string name = path(segments_[i].seq);
    if (::unlink(name.c_str()) != 0) return errno_error(errno, name);
    segments_.pop_back();
    break;
  }
  if (!segments_.empty()) {
    const std::string name = path(segments_.back().seq);
    file_ = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
    if (file_ < 0) return errno_error(errno, name);
    struct stat info {};
    if (::fstat(file_, &info) == 0) capacity_ = static_cast<std::size_t>(info.st_size);
  }
  if (loaded.entries.empty()) loaded.first = loaded.snapshot.index + 1;
  state_ = loaded.state;
  mark_ = loaded.snapshot;
  committed_ = loaded.committed;
  keep_from_ = loaded.first;
  return loaded;
}

Result<void> Segments::write(const Entries::Batch& batch) {
  const std::string payload = encode_batch(batch);
  const std::size_t size = kRecordHeader + padded(payload.size());
  const bool full = segments_.empty() || segments_.back().end + size > capacity_;
  if (full || tainted_) SKIFF_CHECK(begin_segment(size));
  Segment& segment = segments_.back();
  SKIFF_CHECK(put(record(segment.seq, payload), segment.end));
  segment.end += size;
  remember(batch);
  drop_old();
  return {};
}

Result<void> Segments::put(std::string_view bytes, std::size_t at) {
  const std::string name = path(segments_.back().seq);
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n =
        ::pwrite(file_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return disk_error(n < 0 ? errno : EIO, name);
    done += static_cast<std::size_t>(n);
  }
  meter_.wrote(bytes.size());
  if (options_.durability == store::Durability::full) {
    if (::fdatasync(file_) != 0) {
      // The kernel may have forgotten what it could not write: this file is not written again.
      tainted_ = true;
      return disk_error(errno, name);
    }
    meter_.synced();
  }
  return {};
}

// A file of `bytes` zeros or old records, on disk as long as it is.
Result<int> Segments::spare_file(std::size_t bytes) {
  const std::string spare = options_.directory + "/spare";
  const int fd = ::open(spare.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return disk_error(errno, spare);
  struct stat info {};
  std::size_t have = ::fstat(fd, &info) == 0 ? static_cast<std::size_t>(info.st_size) : 0;
  const std::string zeros(256U << 10U, '\0');
  const bool grown = have < bytes;
  while (have < bytes) {
    const std::size_t n = std::min(zeros.size(), bytes - have);
    const ssize_t done = ::pwrite(fd, zeros.data(), n, static_cast<off_t>(have));
    if (done <= 0) {
      const int number = done < 0 ? errno : EIO;
      ::close(fd);
      ::unlink(spare.c_str());
      return disk_error(number, spare);
    }
    meter_.wrote(static_cast<std::size_t>(done));
    have += static_cast<std::size_t>(done);
  }
  if (grown && options_.durability == store::Durability::full && ::fsync(fd) != 0) {
    const int number = errno;
    ::close(fd);
    return disk_error(number, spare);
  }
  capacity_ = have;
  return fd;
}

// The next file begins with everything that must be known, so that older ones can go.
Result<void> Segments::begin_segment(std::size_t room) {
  Entries::Batch first;
  first.state = state_;
  first.snapshot = mark_;
  first.keep_from = keep_from_;
  first.committed = committed_;
  const std::string payload = encode_batch(first);
  const std::size_t used = kFileHeader + kRecordHeader + padded(payload.size());
  const std::size_t old_capacity = capacity_;
  SKIFF_TRY(const int fd, spare_file(std::max(options_.segment_bytes, padded(used + room))));
  const std::uint64_t seq = segments_.empty() ? 1 : segments_.back().seq + 1;
  const std::string spare = options_.directory + "/spare";
  if (::rename(spare.c_str(), path(seq).c_str()) != 0) {
    const int number = errno;
    ::close(fd);
    capacity_ = old_capacity;
    return disk_error(number, path(seq));
  }
  const int old_file = file_;
  const bool old_taint = tainted_;
  const std::size_t previous_end = segments_.empty() ? 0 : segments_.back().end;
  Segment segment;
  segment.seq = seq;
  segment.end = used;
  segments_.push_back(segment);
  file_ = fd;
  tainted_ = false;
  Result<void> outcome = put(file_header(seq, previous_end) + record(seq, payload), 0);
  if (outcome) outcome = sync_directory();
  if (outcome) {
    if (old_file >= 0) ::close(old_file);
    return {};
  }
  ::unlink(path(seq).c_str());
  ::close(fd);
  segments_.pop_back();
  file_ = old_file;
  tainted_ = old_taint;
  capacity_ = old_capacity;
  return outcome;
}

Result<void> Segments::sync_directory() {
  if (options_.durability != store::Durability::full) return {};
  const int fd = ::open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return disk_error(errno, options_.directory);
  const int failed = ::fsync(fd) != 0 ? errno : 0;
  ::close(fd);
  meter_.synced();
  if (failed != 0) return disk_error(failed, options_.directory);
  return {};
}

void Segments::remember(const Entries::Batch& batch) {
  if (batch.state) state_ = *batch.state;
  if (batch.snapshot) mark_ = *batch.snapshot;
  if (batch.restart) {
    for (Segment& segment : segments_) segment.newest = 0;
    keep_from_ = mark_.index + 1;
  }
  keep_from_ = std::max(keep_from_, batch.keep_from);
  committed_ = std::max(committed_, batch.committed);
  if (!batch.entries.empty()) {
    Segment& segment = segments_.back();
    segment.newest = std::max<Index>(segment.newest, batch.first + batch.entries.size() - 1);
  }
}

// Oldest first, so that what remains has no gap. One is kept for the next file.
void Segments::drop_old() {
  while (segments_.size() > 1 && segments_.front().newest < keep_from_) {
    const std::string old = path(segments_.front().seq);
    const std::string spare = options_.directory + "/spare";
    struct stat info {};
    const bool fits = ::stat(old.c_str(), &info) == 0 &&
                      static_cast<std::size_t>(info.st_size) <= 2 * options_.segment_bytes;
    // Which of the two happens is of no consequence, nor is it if neither does: the next start
    // reads what there is.
    if (!fits || ::rename(old.c_str(), spare.c_str()) != 0) ::unlink(old.c_str());
    segments_.pop_front();
  }
}

}  // namespace skiff::raft
