#include "snapshot_format.hpp"

#include "record_codec.hpp"

namespace skiff::store {
namespace {

constexpr unsigned char kIsSealed = 1;

bool take_number(std::string_view& in, std::size_t bytes, std::uint64_t& out) {
  if (in.size() < bytes) return false;
  out = get_number(in.substr(0, bytes));
  in.remove_prefix(bytes);
  return true;
}

}  // namespace

void put_number(std::string& out, std::uint64_t n, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i, n >>= 8) out += static_cast<char>(n);
}

std::uint64_t get_number(std::string_view in) {
  std::uint64_t n = 0;
  for (std::size_t i = in.size(); i-- > 0;) n = n << 8 | static_cast<unsigned char>(in[i]);
  return n;
}

std::uint64_t block_checksum(std::uint32_t type, std::uint64_t index, std::string_view body) {
  return checksum(body, index << 8 | type);
}

std::string encode_block(BlockType type, std::uint64_t index, std::string_view body) {
  const auto number = static_cast<std::uint32_t>(type);
  std::string out;
  out.reserve(kSnapshotBlockHead + body.size());
  put_number(out, number, 4);
  put_number(out, body.size(), 4);
  put_number(out, block_checksum(number, index, body), 8);
  return out.append(body);
}

BlockHead decode_block_head(std::string_view bytes) {
  return {static_cast<std::uint32_t>(get_number(bytes.substr(0, 4))),
          static_cast<std::uint32_t>(get_number(bytes.substr(4, 4))),
          get_number(bytes.substr(8, 8))};
}

void put_record(std::string& out, const Item& item, const Sealer* sealer) {
  const bool sealed = sealer != nullptr && sealer->covers(item.key);
  out += static_cast<char>(sealed ? kIsSealed : 0);
  put_number(out, static_cast<std::uint64_t>(item.created), 8);
  put_number(out, static_cast<std::uint64_t>(item.modified), 8);
  put_text(out, item.key);
  put_text(out, encode_attributes(item.attributes));
  put_text(out, sealed ? sealer->seal(item.key, item.value) : item.value);
}

Result<Record> get_record(std::string_view& in, const Sealer* sealer) {
  const Error bad{Code::invalid, "a record that cannot be read"};
  std::uint64_t flags = 0;
  std::uint64_t created = 0;
  std::uint64_t modified = 0;
  std::string_view key;
  std::string_view attributes;
  std::string_view value;
  const bool whole = take_number(in, 1, flags) && take_number(in, 8, created) &&
                     take_number(in, 8, modified) && get_text(in, key) &&
                     get_text(in, attributes) && get_text(in, value);
  if (!whole || flags > kIsSealed) return bad;
  auto item = std::make_shared<Item>();
  item->key = key;
  item->created = static_cast<Revision>(created);
  item->modified = static_cast<Revision>(modified);
  if (!decode_attributes(attributes, item->attributes)) return bad;
  if (flags == 0) {
    item->value = value;
  } else if (sealer == nullptr) {
    return Error{Code::invalid,
                 "encrypted values and no key was given: give the key that was "
                 "used when it was taken"};
  } else {
    auto opened = sealer->open(key, value);
    if (!opened) return annotate(opened.error(), item->key);
    item->value = std::move(*opened);
  }
  Record record;
  record.item = std::move(item);
  return record;
}

std::string encode_about(const SnapshotInfo& info) {
  std::string out;
  put_text(out, info.cluster);
  put_number(out, static_cast<std::uint64_t>(info.revision), 8);
  put_number(out, static_cast<std::uint64_t>(info.time.time_since_epoch().count()), 8);
  return out;
}

bool decode_about(std::string_view bytes, SnapshotInfo& info) {
  std::string_view cluster;
  std::uint64_t revision = 0;
  std::uint64_t time = 0;
  if (!get_text(bytes, cluster) || !take_number(bytes, 8, revision) ||
      !take_number(bytes, 8, time) || !bytes.empty()) {
    return false;
  }
  info.cluster = cluster;
  info.revision = static_cast<Revision>(revision);
  info.time = WallTime{std::chrono::microseconds(static_cast<std::int64_t>(time))};
  return true;
}

}  // namespace skiff::store
