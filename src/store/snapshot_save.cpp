// Taking a snapshot: the items are gathered on the loop, a slice a turn; a pool thread encodes and
// writes them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "skiff/store/store.hpp"
#include "snapshot_format.hpp"

namespace skiff::store {
namespace {

constexpr std::size_t kSlice = 1000;            // keys gathered in one turn of the loop
constexpr std::size_t kBlockBytes = 1U << 20U;  // a block is closed once it is this large

// A file that is removed again unless it was finished.
class NewFile {
 public:
  explicit NewFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".part") {}
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }

  Result<void> create() {
    ::unlink(temporary_.c_str());  // of one that was killed
    fd_ = ::open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd_ < 0 ? Result<void>(failed("create")) : Result<void>();
  }
  Result<void> write(std::string_view bytes) {
    size_ += bytes.size();
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("write");
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }
  Result<void> finish() {
    if (::fsync(fd_) != 0) return failed("write");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed("rename");
    ::close(std::exchange(fd_, -1));
    const std::size_t slash = path_.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    if (fd >= 0) ::close(fd);
    return synced ? Result<void>() : Result<void>(failed("sync the directory of"));
  }
  std::uint64_t size() const noexcept { return size_; }

 private:
  Error failed(const char* doing) const {
    const int number = errno;
    if (number == ENOSPC || number == EDQUOT) {
      return {Code::unavailable, "cannot write the snapshot " + path_ +
                                     ": the disk is full; make room, or write it elsewhere"};
    }
    return errno_error(number, std::string("cannot ") + doing + " the snapshot " + path_);
  }
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

Result<SnapshotInfo> write_snapshot(SnapshotInfo info, const std::vector<ItemPtr>& items,
                                    const Sealer* sealer) {
  NewFile file(info.path);
  SKIFF_CHECK(file.create());
  std::string head(kSnapshotMagic);
  put_number(head, kSnapshotFormat, 4);
  SKIFF_CHECK(file.write(head));
  std::uint64_t index = 0;
  SKIFF_CHECK(file.write(encode_block(BlockType::about, index++, encode_about(info))));
  std::string body;
  for (const ItemPtr& item : items) {
    put_record(body, *item, sealer);
    if (body.size() < kBlockBytes) continue;
    SKIFF_CHECK(file.write(encode_block(BlockType::records, index++, body)));
    body.clear();
  }
  if (!body.empty()) SKIFF_CHECK(file.write(encode_block(BlockType::records, index++, body)));
  std::string end;
  put_number(end, items.size(), 8);
  put_number(end, file.size(), 8);
  SKIFF_CHECK(file.write(encode_block(BlockType::end, index, end)));
  SKIFF_CHECK(file.finish());
  info.keys = items.size();
  info.bytes = file.size();
  return info;
}

}  // namespace

Task<Result<SnapshotInfo>> save_snapshot(Env env, const Store& store, std::string path,
                                         SnapshotOptions options) {
  SnapshotInfo info;
  info.path = std::move(path);
  info.format = static_cast<int>(kSnapshotFormat);
  info.cluster = options.cluster;
  info.revision = store.revision();
  info.time = env.clock->wall();
  std::vector<ItemPtr> items;
  Range rest;
  for (bool more = true; more;) {
    auto page = store.range(rest, kSlice, info.revision);
    if (!page) {
      co_return annotate(page.error(), "the snapshot could not keep up with the writes: try again");
    }
    more = page->more;
    if (more) rest.begin = page->items.back()->key + '\0';
    items.insert(items.end(), std::make_move_iterator(page->items.begin()),
                 std::make_move_iterator(page->items.end()));
    if (more) co_await yield();
  }
  auto work = [info = std::move(info), items = std::move(items), sealer = options.sealer] {
    return write_snapshot(info, items, sealer.get());
  };
  if (env.blocking == nullptr) co_return work();
  co_return co_await env.blocking->run(std::move(work));
}

}  // namespace skiff::store
