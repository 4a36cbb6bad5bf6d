#include "envelope.hpp"

#include <catch2/catch_test_macros.hpp>

#include "codec.hpp"

using namespace skiff;
using namespace skiff::etcd;

namespace {

Envelope sample() {
  Envelope e;
  e.is_volatile = true;
  e.write_id = 0x8877665544332211;
  e.time = -5;
  e.previous = 300;
  e.author = "alice";
  e.slot = 3;
  e.attributes = {{"spec.nodeName", "n1"}, {"", ""}};
  e.value = std::string("abc\0def", 7);
  return e;
}

// Turns a value round; only for keys under /secret.
class Reverser final : public store::Sealer {
 public:
  bool covers(std::string_view key) const override { return key.starts_with("/secret"); }
  std::string seal(std::string_view, std::string_view value) const override {
    return {value.rbegin(), value.rend()};
  }
  Result<std::string> open(std::string_view, std::string_view sealed) const override {
    return std::string(sealed.rbegin(), sealed.rend());
  }
};

KeyValue pair(std::string key, std::string value, Revision modified) {
  KeyValue kv;
  kv.key = std::move(key);
  kv.value = std::move(value);
  kv.created = 2;
  kv.modified = modified;
  return kv;
}

WatchEvent event(KeyValue kv, bool erase = false) {
  WatchEvent out;
  out.kv = std::move(kv);
  out.erase = erase;
  return out;
}

}  // namespace

TEST_CASE("envelopes read back") {
  const auto back = decode(encode(sample()));
  REQUIRE(back.has_value());
  CHECK(back->value == sample().value);
  CHECK(back->attributes == sample().attributes);
  CHECK(back->write_id == sample().write_id);
  CHECK(back->time == -5);
  CHECK(back->previous == 300);
  CHECK(back->author == "alice");
  CHECK(back->slot == 3);
  CHECK(back->is_volatile);
  CHECK_FALSE(back->erase);
  CHECK(encode(*back) == encode(sample()));
}

TEST_CASE("the format stays: format 1 as it was first written") {
  Envelope e;
  e.erase = true;
  e.write_id = 1;
  e.time = 1;
  e.previous = 2;
  e.created = 1;
  e.key = "/a";
  e.value = "v";
  const std::string bytes("\xE7\x01\x01\x01\0\0\0\0\0\0\0\x02\x02\x01\x02/a\0\0v", 20);
  CHECK(encode(e) == bytes);
  CHECK(decode(bytes)->key == "/a");
}

TEST_CASE("damaged, newer and foreign envelopes are refused") {
  const std::string whole = encode(sample());
  for (std::size_t n = 0; n + 4 < whole.size(); ++n) {
    const auto cut = decode(whole.substr(0, n));
    if (n + sample().value.size() < whole.size() + 3) continue;
    CHECK(cut.has_error());
  }
  CHECK(decode("").has_error());
  CHECK(decode("{\"kind\":\"Pod\"}").error().message == "it was not written by skiff");
  CHECK(decode(whole.substr(0, 12)).error().message == "it is damaged");
  std::string newer = whole;
  newer[1] = 9;
  CHECK(decode(newer).error().message.find("newer skiff (format 9") != std::string::npos);
}

TEST_CASE("records: revisions are spliced, covered values sealed") {
  Codec codec("/skiff", std::make_shared<Reverser>());
  store::Op op;
  op.key = "/secret/a";
  op.value = "rv= end";
  op.revision_slot = 3;
  const Envelope e = codec.envelope(op);
  CHECK(e.sealed);
  CHECK(e.value == "dne =vr");
  const auto record = codec.record(pair(codec.keys.object(op.key), encode(e), 41));
  REQUIRE(record.has_value());
  CHECK(record->item->value == "rv=41 end");
  CHECK(record->item->created == 2);
  Codec blind("/skiff", nullptr);
  const auto closed = blind.record(pair(codec.keys.object(op.key), encode(e), 41));
  CHECK(closed.error().message.find("encrypted") != std::string::npos);
  CHECK(codec.record(pair("/x", encode(e), 41)).has_error());
}

TEST_CASE("events become records, one a transaction") {
  Codec codec("/skiff", nullptr);
  store::Op op;
  op.key = "/a";
  op.value = "v";
  const std::string put = encode(codec.envelope(op));
  op.type = store::Op::Type::erase;
  const std::string tombstone = encode(codec.envelope(op));
  const std::string name = codec.keys.object("/a");

  Folder folder(codec);
  WatchAnswer answer;
  answer.events = {event(pair(codec.keys.newest, "", 5)), event(pair(name, put, 5)),
                   event(pair(codec.keys.newest, tombstone, 6))};
  answer.fragment = true;
  auto folded = folder.feed(answer);
  REQUIRE(folded.has_value());
  REQUIRE(folded->records.size() == 1);  // 6 may go on
  CHECK_FALSE(folded->records[0].erase);
  answer.events = {event(pair(name, "", 6), true)};
  answer.fragment = false;
  folded = folder.feed(answer);
  REQUIRE(folded->records.size() == 1);
  CHECK(folded->records[0].erase);
  CHECK(folded->records[0].item->modified == 6);
  CHECK(folder.feed(answer).has_error());  // again

  answer.events = {event(pair(name, "", 7), true)};  // etcdctl del
  CHECK(folder.feed(answer)->foreign == 7);
  answer.events = {event(pair(codec.keys.newest, "", 8)), event(pair(name, "junk", 8))};
  CHECK(folder.feed(answer).error().message.find("not written by skiff") != std::string::npos);
}
