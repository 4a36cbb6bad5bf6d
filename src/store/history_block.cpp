#include "history_block.hpp"

#include <algorithm>

#include "record_codec.hpp"

namespace skiff::store {
namespace {

constexpr std::size_t kChecksumBytes = 8;

// Small differences, of either sign, in few bytes.
void put_signed(std::string& out, std::int64_t n) {
  put_varint(out, (static_cast<std::uint64_t>(n) << 1U) ^ static_cast<std::uint64_t>(n >> 63));
}

bool get_signed(std::string_view& in, std::int64_t& out) {
  std::uint64_t n = 0;
  if (!get_varint(in, n)) return false;
  out = static_cast<std::int64_t>(n >> 1U) ^ -static_cast<std::int64_t>(n & 1U);
  return true;
}

// Whatever the bytes say: no overflow that the language does not know.
std::int64_t add(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}
std::int64_t subtract(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

bool get_size(std::string_view& in, std::size_t& out) {
  std::uint64_t n = 0;
  if (!get_varint(in, n)) return false;
  out = static_cast<std::size_t>(n);
  return true;
}

}  // namespace

void BlockWriter::add(const RawRecord& record, std::int64_t ended, std::int64_t until) {
  const std::size_t at = rows_.size();
  put_signed(rows_, record.revision - record.previous);
  put_signed(rows_, record.revision - record.created);
  put_varint(rows_, record.flags);
  for (unsigned i = 0; i < kChecksumBytes; ++i) {
    rows_ += static_cast<char>(record.checksum >> (8 * i));
  }
  put_signed(rows_, record.time);
  put_text(rows_, record.author);
  put_text(rows_, record.attributes);
  put_text(rows_, record.value);

  const auto differs =
      std::mismatch(key_.begin(), key_.end(), record.key.begin(), record.key.end());
  const auto shared = static_cast<std::size_t>(differs.first - key_.begin());
  put_varint(directory_, shared);
  put_text(directory_, record.key.substr(shared));
  put_signed(directory_, record.revision - revision_);
  put_varint(directory_, static_cast<std::uint64_t>(ended - ended_));
  put_varint(directory_, rows_.size() - at);
  key_ = record.key;
  revision_ = record.revision;
  ended_ = ended;
  until_ = std::max(until_, until);
}

bool BlockDirectory::next() {
  if (rest_.empty()) return false;
  std::size_t shared = 0;
  std::string_view rest_of_key;
  std::int64_t revision = 0;
  std::uint64_t ended = 0;
  entry_.at += entry_.size;
  damaged_ = !get_size(rest_, shared) || !get_text(rest_, rest_of_key) ||
             !get_signed(rest_, revision) || !get_varint(rest_, ended) ||
             !get_size(rest_, entry_.size) || shared > entry_.key.size();
  if (damaged_) {
    rest_ = {};
    return false;
  }
  entry_.key.resize(shared);
  entry_.key += rest_of_key;
  entry_.revision = add(entry_.revision, revision);
  entry_.ended = add(entry_.ended, static_cast<std::int64_t>(ended));
  return true;
}

bool read_block_row(std::string_view rows, const BlockEntry& entry, RawRecord& out) {
  if (entry.at > rows.size() || entry.size > rows.size() - entry.at) return false;
  std::string_view in = rows.substr(entry.at, entry.size);
  std::int64_t previous = 0;
  std::int64_t created = 0;
  std::uint64_t flags = 0;
  if (!get_signed(in, previous) || !get_signed(in, created) || !get_varint(in, flags)) return false;
  if (in.size() < kChecksumBytes) return false;
  out.checksum = 0;
  for (unsigned i = 0; i < kChecksumBytes; ++i) {
    out.checksum |= static_cast<std::uint64_t>(static_cast<unsigned char>(in[i])) << (8 * i);
  }
  in.remove_prefix(kChecksumBytes);
  out.key = entry.key;
  out.revision = entry.revision;
  out.previous = subtract(entry.revision, previous);
  out.created = subtract(entry.revision, created);
  out.flags = static_cast<unsigned>(flags);
  return get_signed(in, out.time) && get_text(in, out.author) && get_text(in, out.attributes) &&
         get_text(in, out.value) && in.empty();
}

}  // namespace skiff::store
