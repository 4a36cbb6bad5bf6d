#include "envelope.hpp"

#include <limits>

namespace skiff::etcd {
namespace {

constexpr char kMagic = '\xE7';  // no text begins with it
constexpr unsigned kErase = 1;
constexpr unsigned kVolatile = 2;
constexpr unsigned kSealed = 4;
constexpr unsigned kSlot = 8;
constexpr unsigned kKnownFlags = 15;

void put_number(std::string& out, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  out += static_cast<char>(n);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out += text;
}

// Reads from the front; after the first failure everything is empty or zero.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : in_(bytes) {}

  std::uint64_t number() {
    std::uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) return fail();
      const auto byte = static_cast<unsigned char>(in_.front());
      in_.remove_prefix(1);
      if (shift == 63 && byte > 1) return fail();
      n |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return n;
    }
    return fail();
  }
  std::int64_t positive() {
    const std::uint64_t n = number();
    if (n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) fail();
    return failed_ ? 0 : static_cast<std::int64_t>(n);
  }
  std::uint64_t fixed64() {
    if (in_.size() < 8) return fail();
    std::uint64_t n = 0;
    for (unsigned i = 0; i < 8; ++i) {
      n |= static_cast<std::uint64_t>(static_cast<unsigned char>(in_[i])) << (8 * i);
    }
    in_.remove_prefix(8);
    return n;
  }
  std::string_view text() {
    const std::uint64_t n = number();
    if (n > in_.size()) fail();
    if (failed_) return {};
    const std::string_view out = in_.substr(0, n);
    in_.remove_prefix(n);
    return out;
  }
  std::string_view rest() const { return failed_ ? std::string_view() : in_; }
  std::size_t left() const { return in_.size(); }
  bool failed() const { return failed_; }
  std::uint64_t fail() {
    failed_ = true;
    in_ = {};
    return 0;
  }

 private:
  std::string_view in_;
  bool failed_ = false;
};

std::uint64_t zigzag(std::int64_t n) {
  return (static_cast<std::uint64_t>(n) << 1) ^ static_cast<std::uint64_t>(n >> 63);
}
std::int64_t unzigzag(std::uint64_t n) {
  return static_cast<std::int64_t>(n >> 1) ^ -static_cast<std::int64_t>(n & 1);
}

void read_attributes(Reader& in, store::Attributes& out) {
  const std::uint64_t count = in.number();
  if (count > in.left()) in.fail();  // each takes two bytes at least
  for (std::uint64_t i = 0; i < count && !in.failed(); ++i) {
    std::string name(in.text());
    std::string value(in.text());
    out.emplace_back(std::move(name), std::move(value));
  }
}

}  // namespace

std::string encode(const Envelope& e) {
  std::string out;
  out.reserve(e.value.size() + e.key.size() + e.author.size() + 128);
  out += kMagic;
  put_number(out, kFormat);
  unsigned flags = 0;
  if (e.erase) flags |= kErase;
  if (e.is_volatile) flags |= kVolatile;
  if (e.sealed) flags |= kSealed;
  if (e.slot != store::kNoSlot) flags |= kSlot;
  put_number(out, flags);
  for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(e.write_id >> (8 * i));
  put_number(out, zigzag(e.time));
  put_number(out, static_cast<std::uint64_t>(e.previous));
  if (e.erase) {
    put_number(out, static_cast<std::uint64_t>(e.created));
    put_text(out, e.key);
  }
  put_text(out, e.author);
  if (e.slot != store::kNoSlot) put_number(out, e.slot);
  put_number(out, e.attributes.size());
  for (const auto& [name, value] : e.attributes) {
    put_text(out, name);
    put_text(out, value);
  }
  out += e.value;
  return out;
}

Result<Envelope> decode(std::string_view bytes) {
  if (bytes.empty() || bytes.front() != kMagic) {
    return Error{Code::invalid, "it was not written by skiff"};
  }
  Reader in(bytes.substr(1));
  const std::uint64_t format = in.number();
  if (!in.failed() && format > kFormat) {
    return Error{Code::invalid, "it was written by a newer skiff (format " +
                                    std::to_string(format) + "; this one knows " +
                                    std::to_string(kFormat) + ")"};
  }
  const std::uint64_t flags = in.number();
  if (format == 0 || flags > kKnownFlags) in.fail();
  Envelope e;
  e.erase = (flags & kErase) != 0;
  e.is_volatile = (flags & kVolatile) != 0;
  e.sealed = (flags & kSealed) != 0;
  e.write_id = in.fixed64();
  e.time = unzigzag(in.number());
  e.previous = in.positive();
  if (e.erase) {
    e.created = in.positive();
    e.key = in.text();
  }
  e.author = in.text();
  if ((flags & kSlot) != 0) {
    const std::uint64_t slot = in.number();
    if (slot >= store::kNoSlot) in.fail();
    e.slot = static_cast<std::uint32_t>(slot);
  }
  read_attributes(in, e.attributes);
  e.value = in.rest();
  if (!e.sealed && e.slot != store::kNoSlot && e.slot > e.value.size()) in.fail();
  if (in.failed()) return Error{Code::invalid, "it is damaged"};
  return e;
}

std::string splice(std::string value, std::uint32_t slot, store::Revision revision) {
  if (slot != store::kNoSlot) value.insert(slot, std::to_string(revision));
  value.shrink_to_fit();
  return value;
}

}  // namespace skiff::etcd
