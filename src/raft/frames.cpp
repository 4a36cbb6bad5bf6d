#include "frames.hpp"

namespace skiff::raft {
namespace {

constexpr std::uint32_t kMagic = 0x72666b73;  // "skfr"
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kFixed = 4 + 1 + 1 + 8;  // magic, version, type, checksum

Error bad(std::string what) { return {Code::bad_request, std::move(what)}; }

}  // namespace

std::string make_frame(const FrameHeader& header, std::string_view payload) {
  std::string out;
  out.reserve(kFixed + 40 + header.address.size() + payload.size());
  put_fixed32(out, kMagic);
  out.push_back(static_cast<char>(kVersion));
  out.push_back(static_cast<char>(header.type));
  out.append(8, '\0');
  put_fixed64(out, header.cluster);
  put_fixed64(out, header.from);
  put_fixed64(out, header.to);
  put_bytes(out, header.address);
  out.append(payload);
  const std::uint64_t sum =
      checksum64(std::string_view(out).substr(kFixed), static_cast<std::uint64_t>(header.type));
  for (std::size_t i = 0; i < 8; ++i) out[6 + i] = static_cast<char>(sum >> (8 * i));
  return out;
}

Result<Frame> parse_frame(std::string_view bytes) {
  if (bytes.size() < kFixed || get_fixed(bytes.data(), 4) != kMagic) {
    return bad("this is no frame of skiff's");
  }
  const auto version = static_cast<unsigned char>(bytes[4]);
  const auto type = static_cast<unsigned char>(bytes[5]);
  if (version != kVersion) {
    return bad("frame of version " + std::to_string(version) + ", this server speaks version " +
               std::to_string(kVersion) + ": run the same skiff on all servers");
  }
  if (get_fixed(bytes.data() + 6, 8) != checksum64(bytes.substr(kFixed), type)) {
    return bad("a frame is damaged");
  }
  if (type < 1 || type > static_cast<unsigned>(FrameType::stranger)) {
    return bad("a frame is of an unknown type");
  }
  WireReader in(bytes.substr(kFixed));
  Frame frame;
  frame.header.type = static_cast<FrameType>(type);
  frame.header.cluster = in.fixed(8);
  frame.header.from = in.fixed(8);
  frame.header.to = in.fixed(8);
  frame.header.address = in.bytes();
  if (!in.ok() || frame.header.from == 0 || frame.header.address.size() > 255) {
    return bad("a frame's header is damaged");
  }
  frame.payload = in.rest();
  return frame;
}

std::string encode_core(const skiff_message& m, std::span<const Entry> entries) {
  std::string out;
  std::size_t size = 96;
  for (const Entry& entry : entries) size += entry.data->size() + 16;
  out.reserve(size);
  out.push_back(static_cast<char>(m.type));
  out.push_back(static_cast<char>(m.version));
  put_number(out, (m.disrupt ? 1U : 0U) | (m.pre_vote ? 2U : 0U) | (m.granted ? 4U : 0U));
  put_number(out, m.features);
  put_number(out, m.capacity);
  put_number(out, m.term);
  put_number(out, m.index);
  put_number(out, m.log_term);
  put_number(out, m.commit);
  put_number(out, m.rejected);
  put_number(out, entries.size());
  for (const Entry& entry : entries) {
    put_number(out, entry.term);
    out.push_back(static_cast<char>(entry.kind));
    put_bytes(out, *entry.data);
  }
  return out;
}

Result<CoreMessage> decode_core(std::string_view payload) {
  WireReader in(payload);
  CoreMessage out;
  skiff_message& m = out.fields;
  m.type = static_cast<std::uint8_t>(in.fixed(1));
  m.version = static_cast<std::uint8_t>(in.fixed(1));
  const std::uint64_t flags = in.number();
  m.disrupt = (flags & 1U) != 0;
  m.pre_vote = (flags & 2U) != 0;
  m.granted = (flags & 4U) != 0;
  m.features = static_cast<std::uint16_t>(in.number());
  m.capacity = static_cast<std::uint16_t>(in.number());
  m.term = in.number();
  m.index = in.number();
  m.log_term = in.number();
  m.commit = in.number();
  m.rejected = in.number();
  const std::size_t n = in.count();
  constexpr std::uint64_t kMost = 1ULL << 62U;  // sums of these do not wrap
  if (m.term > kMost || m.index > kMost || m.commit > kMost || m.rejected > kMost) in.fail();
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    Entry entry;
    entry.term = in.number();
    const std::uint64_t kind = in.fixed(1);
    entry.data = std::make_shared<const std::string>(std::string(in.bytes()));
    if (kind < 1 || kind > 3) in.fail();
    entry.kind = static_cast<Entry::Kind>(kind);
    if (entry.kind == Entry::Kind::servers) SKIFF_CHECK(decode_servers(*entry.data));
    out.entries.push_back(std::move(entry));
  }
  // A snapshot never comes as one message: it is put together from parts.
  if (!in.done() || m.type < 1 || m.type > SKIFF_TIMEOUT_NOW || m.type == SKIFF_SNAPSHOT) {
    return bad("a message is damaged");
  }
  if (n > 0 && m.type != SKIFF_APPEND) return bad("a message has entries that it should not");
  return out;
}

std::string encode_part(const SnapshotPart& part) {
  std::string out;
  out.reserve(128 + part.records.size());
  put_fixed64(out, part.transfer);
  put_number(out, part.seq);
  put_number(out, part.last ? 1 : 0);
  put_number(out, part.term);
  if (part.seq == 0) {
    put_number(out, part.mark.index);
    put_number(out, part.mark.term);
    put_number(out, part.mark.servers_index);
    put_bytes(out, part.mark.servers);
    put_signed(out, part.at.revision);
    put_signed(out, part.at.compacted);
    put_signed(out, part.at.resumable);
  }
  out.append(part.records);
  return out;
}

Result<SnapshotPart> decode_part(std::string_view payload) {
  WireReader in(payload);
  SnapshotPart part;
  part.transfer = in.fixed(8);
  part.seq = in.number();
  part.last = in.number() != 0;
  part.term = in.number();
  if (part.seq == 0) {
    part.mark.index = in.number();
    part.mark.term = in.number();
    part.mark.servers_index = in.number();
    part.mark.servers = in.bytes();
    part.at.revision = in.signed_number();
    part.at.compacted = in.signed_number();
    part.at.resumable = in.signed_number();
    if (in.ok()) SKIFF_CHECK(decode_servers(part.mark.servers));
    if (part.mark.index == 0 || part.mark.term == 0 || part.mark.index > (1ULL << 62U) ||
        part.mark.servers_index > part.mark.index || part.mark.term > part.term) {
      in.fail();
    }
  }
  if (!in.ok() || part.term == 0) return bad("a part of a snapshot is damaged");
  part.records = in.rest();
  return part;
}

}  // namespace skiff::raft
