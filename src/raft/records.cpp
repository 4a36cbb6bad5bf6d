#include "records.hpp"

#include <bit>
#include <cstring>
#include <set>

#include "skiff/http/message.hpp"

namespace skiff::raft {

using store::Record;

namespace {

constexpr char kRecordsVersion = 1;
constexpr std::size_t kMaxServers = 64;

constexpr std::uint64_t kErase = 1;
constexpr std::uint64_t kVolatile = 2;
constexpr std::uint64_t kSealed = 4;
constexpr std::uint64_t kAuthor = 8;

Error damaged(std::string_view what) { return {Code::internal, std::string(what) + " is damaged"}; }

void put_attributes(std::string& out, const store::Attributes& attributes) {
  put_number(out, attributes.size());
  for (const auto& [name, value] : attributes) {
    put_bytes(out, name);
    put_bytes(out, value);
  }
}

store::Attributes get_attributes(WireReader& in) {
  store::Attributes out;
  const std::size_t n = in.count();
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    std::string name(in.bytes());
    out.emplace_back(std::move(name), std::string(in.bytes()));
  }
  return out;
}

void put_record(std::string& out, const Record& record, const store::Sealer* sealer) {
  const store::Item& item = *record.item;
  const bool sealed = sealer != nullptr && sealer->covers(item.key);
  put_number(out, (record.erase ? kErase : 0U) | (record.is_volatile ? kVolatile : 0U) |
                      (sealed ? kSealed : 0U) | (record.author ? kAuthor : 0U));
  put_bytes(out, item.key);
  put_signed(out, item.modified);
  put_signed(out, item.created);
  put_signed(out, record.previous);
  put_signed(out, record.time.time_since_epoch().count());
  if (record.author) put_bytes(out, *record.author);
  put_attributes(out, item.attributes);
  put_bytes(out, sealed ? sealer->seal(item.key, item.value) : item.value);
}

Result<Record> get_record(WireReader& in, const store::Sealer* sealer) {
  const std::uint64_t flags = in.number();
  auto item = std::make_shared<store::Item>();
  Record record;
  item->key = in.bytes();
  item->modified = in.signed_number();
  item->created = in.signed_number();
  record.previous = in.signed_number();
  record.time = WallTime(WallTime::duration(in.signed_number()));
  if ((flags & kAuthor) != 0) {
    record.author = std::make_shared<const std::string>(std::string(in.bytes()));
  }
  item->attributes = get_attributes(in);
  const std::string_view value = in.bytes();
  if (!in.ok() || flags > 15) return damaged("a record");
  if ((flags & kSealed) != 0) {
    if (sealer == nullptr) {
      return Error{Code::internal, item->key + " is encrypted, and there is no key to read it"};
    }
    SKIFF_TRY(item->value, sealer->open(item->key, value));
  } else {
    item->value = value;
  }
  record.erase = (flags & kErase) != 0;
  record.is_volatile = (flags & kVolatile) != 0;
  record.item = std::move(item);
  return record;
}

}  // namespace

std::uint64_t checksum64(std::string_view bytes, std::uint64_t seed) {
  constexpr std::uint64_t kMix = 0x9fb21c651e98df25U;
  std::uint64_t h = seed ^ (bytes.size() * 0xd6e8feb86659fd93U);
  const char* p = bytes.data();
  std::size_t n = bytes.size();
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, 8);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    h = std::rotl(h ^ (word * kMix), 27) * 0x2545f4914f6cdd1dU + 0x632be59bd9b4e019U;
  }
  std::uint64_t tail = get_fixed(p, static_cast<int>(n));
  h = std::rotl(h ^ (tail * kMix), 27) * 0x2545f4914f6cdd1dU;
  h ^= h >> 32U;
  h *= kMix;
  return h ^ (h >> 29U);
}

std::string encode_records(std::span<const Record> records, const store::Sealer* sealer) {
  std::string body;
  std::size_t size = 16;
  for (const Record& r : records) size += r.item->key.size() + r.item->value.size() + 160;
  body.reserve(size);
  body.push_back(kRecordsVersion);
  body.append(8, '\0');  // the checksum
  put_number(body, records.size());
  for (const Record& record : records) put_record(body, record, sealer);
  const std::uint64_t sum = checksum64(std::string_view(body).substr(9));
  for (int i = 0; i < 8; ++i)
    body[1 + static_cast<std::size_t>(i)] = static_cast<char>(sum >> (8 * i));
  return body;
}

Result<std::vector<Record>> decode_records(std::string_view bytes, const store::Sealer* sealer) {
  if (bytes.empty()) return damaged("an entry of the log");
  if (bytes.front() != kRecordsVersion) {
    return Error{Code::internal,
                 "an entry of the log was written by a newer skiff: update this server"};
  }
  if (bytes.size() < 9 || get_fixed(bytes.data() + 1, 8) != checksum64(bytes.substr(9))) {
    return damaged("an entry of the log");
  }
  WireReader in(bytes.substr(9));
  std::vector<Record> out;
  const std::size_t n = in.count();
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    SKIFF_TRY(auto record, get_record(in, sealer));
    if (record.item->modified <= 0) return damaged("a record");
    out.push_back(std::move(record));
  }
  if (!in.done()) return damaged("an entry of the log");
  return out;
}

void put_ops(std::string& out, const std::vector<store::Op>& ops) {
  put_number(out, ops.size());
  for (const store::Op& op : ops) {
    put_number(out, (op.type == store::Op::Type::erase ? 1U : 0U) | (op.is_volatile ? 2U : 0U) |
                        (op.expect ? 4U : 0U) | (op.author ? 8U : 0U) |
                        (op.revision_slot != store::kNoSlot ? 16U : 0U));
    put_bytes(out, op.key);
    if (op.expect) put_signed(out, *op.expect);
    if (op.author) put_bytes(out, *op.author);
    if (op.revision_slot != store::kNoSlot) put_number(out, op.revision_slot);
    put_attributes(out, op.attributes);
    put_bytes(out, op.value);
  }
}

Result<std::vector<store::Op>> get_ops(WireReader& in) {
  std::vector<store::Op> out;
  const std::size_t n = in.count();
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    store::Op op;
    const std::uint64_t flags = in.number();
    op.type = (flags & 1U) != 0 ? store::Op::Type::erase : store::Op::Type::put;
    op.is_volatile = (flags & 2U) != 0;
    op.key = in.bytes();
    if ((flags & 4U) != 0) op.expect = in.signed_number();
    if ((flags & 8U) != 0) {
      op.author = std::make_shared<const std::string>(std::string(in.bytes()));
    }
    if ((flags & 16U) != 0) {
      const std::uint64_t slot = in.number();
      op.revision_slot = slot < store::kNoSlot ? static_cast<std::uint32_t>(slot) : 0;
    }
    op.attributes = get_attributes(in);
    op.value = in.bytes();
    if (op.revision_slot != store::kNoSlot && op.revision_slot > op.value.size()) in.fail();
    out.push_back(std::move(op));
  }
  if (!in.ok()) return Error{Code::bad_request, "forwarded writes are damaged"};
  return out;
}

void put_error(std::string& out, const Error& error) {
  put_number(out, static_cast<std::uint64_t>(error.code));
  put_bytes(out, error.message);
}

Error get_error(WireReader& in) {
  const std::uint64_t code = in.number();
  std::string message(in.bytes());
  if (code > static_cast<std::uint64_t>(Code::canceled)) return {Code::internal, message};
  return {static_cast<Code>(code), std::move(message)};
}

void put_verdicts(std::string& out, const Verdicts& verdicts) {
  put_number(out, verdicts.size());
  for (const auto& verdict : verdicts) {
    put_number(out, verdict ? 1 : 0);
    if (verdict) {
      put_signed(out, *verdict);
    } else {
      put_error(out, verdict.error());
    }
  }
}

bool get_verdicts(WireReader& in, Verdicts& out) {
  const std::size_t n = in.count();
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    if (in.number() != 0) {
      out.emplace_back(in.signed_number());
    } else {
      out.emplace_back(get_error(in));
    }
  }
  return in.ok();
}

bool is_address(std::string_view address) {
  if (address.empty() || address.size() > 255 || address.find('\0') != address.npos) return false;
  const auto url = http::Url::parse(address);
  return url && url->target == "/" && !address.ends_with('/');
}

std::string encode_servers(const Servers& servers) {
  std::string out;
  out.push_back(1);
  put_fixed64(out, servers.size());
  for (const Server& s : servers) {
    put_fixed64(out, s.id);
    out.append(s.address);
    out.push_back('\0');
    // The core's numbers.
    out.push_back(static_cast<char>(s.role == Role::standby ? 0 : s.role == Role::voter ? 1 : 2));
  }
  while (out.size() % 8 != 0) out.push_back('\0');
  return out;
}

Result<Servers> decode_servers(std::string_view bytes) {
  const Error bad = damaged("the list of servers");
  if (bytes.size() < 9 || bytes.size() % 8 != 0 || bytes.front() != 1) return bad;
  const std::uint64_t n = get_fixed(bytes.data() + 1, 8);
  if (n == 0 || n > kMaxServers) return bad;
  std::string_view rest = bytes.substr(9);
  Servers out;
  std::set<Id> ids;
  std::set<std::string_view> addresses;
  for (std::uint64_t i = 0; i < n; ++i) {
    if (rest.size() < 8) return bad;
    Server s;
    s.id = get_fixed(rest.data(), 8);
    rest.remove_prefix(8);
    const std::size_t end = rest.find('\0');
    if (end == rest.npos || end == 0 || end > 255 || end + 1 >= rest.size()) return bad;
    const std::string_view address = rest.substr(0, end);
    const int role = rest[end + 1];
    rest.remove_prefix(end + 2);
    if (s.id == 0 || role < 0 || role > 2) return bad;
    if (!ids.insert(s.id).second || !addresses.insert(address).second) return bad;
    s.address = address;
    s.role = role == 0 ? Role::standby : role == 1 ? Role::voter : Role::spare;
    out.push_back(std::move(s));
  }
  if (rest.find_first_not_of('\0') != rest.npos) return bad;
  return out;
}

std::string_view name_of(Role role) noexcept {
  switch (role) {
    case Role::voter:
      return "voter";
    case Role::standby:
      return "standby";
    default:
      return "spare";
  }
}

Id random_id(Random& random) {
  // Positive as a signed number too, and short enough to be read aloud: 53 bits survive JSON.
  for (;;) {
    const Id id = random.next() >> 11U;
    if (id != 0) return id;
  }
}

}  // namespace skiff::raft
