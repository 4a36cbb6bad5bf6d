// What is on disk: formats, torn tails, damage.
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "frames.hpp"
#include "posts.hpp"
#include "segments.hpp"
#include "skiff/base/random.hpp"

using namespace skiff;
using namespace skiff::raft;
namespace fs = std::filesystem;

namespace {

struct Directory {
  fs::path path = fs::temp_directory_path() / ("skiff-raft-" + std::to_string(::getpid()));
  Directory() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Directory() { fs::remove_all(path); }
  std::unique_ptr<Segments> open(std::size_t bytes = 4096) const {
    EntriesOptions options;
    options.directory = path.string();
    options.segment_bytes = bytes;
    auto opened = Segments::open(options, {});
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().filename().string().starts_with("entries-")) out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
};

Entry entry(Term term, std::string bytes) {
  Entry e;
  e.term = term;
  e.data = std::make_shared<const std::string>(std::move(bytes));
  return e;
}

Entries::Batch begin() {
  Entries::Batch batch;
  HardState state;
  state.term = 1;
  state.self = 7;
  state.cluster = 9;
  batch.state = state;
  SnapshotMark mark;
  mark.index = 2;
  mark.term = 1;
  mark.servers = encode_servers({{7, "https://a:1", Role::voter}});
  mark.servers_index = 2;
  batch.snapshot = mark;
  batch.restart = true;
  return batch;
}

Entries::Batch one(Index index, Term term, std::string bytes) {
  Entries::Batch batch;
  batch.first = index;
  batch.entries.push_back(entry(term, std::move(bytes)));
  return batch;
}

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void spit(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
}

}  // namespace

TEST_CASE("entries come back, also over many files", "[raft][entries]") {
  Directory dir;
  {
    auto segments = dir.open();
    REQUIRE(segments->load().has_value());
    REQUIRE(segments->write(begin()).has_value());
    for (Index i = 3; i < 203; ++i) {
      REQUIRE(segments->write(one(i, 1, std::string(100, 'a'))).has_value());
    }
    // The last ten are replaced by another leader's.
    REQUIRE(segments->write(one(193, 2, "b")).has_value());
    auto second = Segments::open({dir.path.string(), store::Durability::full, 4096}, {});
    REQUIRE_FALSE(second.has_value());
    CHECK(second.error().code == Code::conflict);
  }
  {
    auto segments = dir.open();
    auto loaded = segments->load();
    REQUIRE(loaded.has_value());
    CHECK(loaded->state.cluster == 9);
    CHECK(loaded->first == 3);
    REQUIRE(loaded->entries.size() == 191);
    CHECK(loaded->entries.back().term == 2);
    CHECK(*loaded->entries.back().data == "b");
    CHECK(dir.files().size() > 3);
    Entries::Batch forget;
    SnapshotMark mark = loaded->snapshot;
    mark.index = 190;
    forget.snapshot = mark;
    forget.keep_from = 180;
    REQUIRE(segments->write(forget).has_value());
    CHECK(dir.files().size() <= 2);
  }
  auto loaded = dir.open()->load();
  REQUIRE(loaded.has_value());
  CHECK(loaded->first == 180);
  CHECK(loaded->entries.size() == 14);
  CHECK(loaded->snapshot.index == 190);
}

TEST_CASE("every cut of the last write loses that and nothing else", "[raft][entries]") {
  Directory dir;
  {
    auto segments = dir.open(64U << 10U);
    REQUIRE(segments->load().has_value());
    REQUIRE(segments->write(begin()).has_value());
    for (Index i = 3; i < 13; ++i) REQUIRE(segments->write(one(i, 1, "x")).has_value());
    REQUIRE(segments->write(one(13, 1, std::string(333, 'y'))).has_value());
  }
  const fs::path file = dir.files().back();
  const std::string whole = slurp(file);
  const std::size_t end = whole.find_last_not_of('\0') + 1;
  for (std::size_t cut = end - 340; cut < end; cut += 7) {
    std::string torn = whole;
    std::fill(torn.begin() + static_cast<long>(cut), torn.end(), '\0');
    spit(file, torn);
    auto segments = dir.open(64U << 10U);
    auto loaded = segments->load();
    REQUIRE(loaded.has_value());
    REQUIRE(loaded->entries.size() == 10);
    REQUIRE(segments->write(one(13, 2, "again")).has_value());
    segments.reset();
    auto after = dir.open(64U << 10U)->load();
    REQUIRE(after.has_value());
    REQUIRE(after->entries.size() == 11);
    CHECK(*after->entries.back().data == "again");
  }
}

TEST_CASE("damage in the middle is told", "[raft][entries]") {
  Directory dir;
  {
    auto segments = dir.open();
    REQUIRE(segments->load().has_value());
    REQUIRE(segments->write(begin()).has_value());
    for (Index i = 3; i < 103; ++i) {
      REQUIRE(segments->write(one(i, 1, std::string(100, 'a'))).has_value());
    }
  }
  const auto files = dir.files();
  REQUIRE(files.size() >= 3);
  SECTION("a byte of an old entry") {
    std::string bytes = slurp(files[1]);
    bytes[1000] ^= 1;
    spit(files[1], bytes);
  }
  SECTION("a byte of the newest file, not at its end") {
    std::string bytes = slurp(files.back());
    bytes[60] ^= 1;
    spit(files.back(), bytes);
  }
  SECTION("a header") {
    std::string bytes = slurp(files.front());
    bytes[3] ^= 1;
    spit(files.front(), bytes);
  }
  SECTION("a missing file") { fs::remove(files[1]); }
  const auto loaded = dir.open()->load();
  REQUIRE_FALSE(loaded.has_value());
  CHECK(loaded.error().message.find("let it join again") != std::string::npos);
}

TEST_CASE("a file of a newer skiff is told apart from damage", "[raft][entries]") {
  Directory dir;
  {
    auto segments = dir.open();
    REQUIRE(segments->load().has_value());
    REQUIRE(segments->write(begin()).has_value());
  }
  std::string bytes = slurp(dir.files().front());
  bytes[8] = 2;
  spit(dir.files().front(), bytes);
  const auto loaded = dir.open()->load();
  REQUIRE_FALSE(loaded.has_value());
  CHECK(loaded.error().message.find("newer skiff") != std::string::npos);
}

TEST_CASE("records, servers and frames read back; damage does not", "[raft][codec]") {
  auto item = std::make_shared<store::Item>();
  item->key = "/registry/pods/a";
  item->value = std::string("\0v", 2);
  item->modified = 12;
  item->created = 3;
  item->attributes = {{"spec.nodeName", "n"}};
  store::Record record;
  record.item = item;
  record.previous = 11;
  record.is_volatile = true;
  record.time = WallTime(WallTime::duration(-5));
  record.author = std::make_shared<const std::string>("me");
  const std::string bytes = encode_records({&record, 1}, nullptr);
  const auto back = decode_records(bytes, nullptr);
  REQUIRE(back.has_value());
  REQUIRE(back->size() == 1);
  CHECK(back->front().item->value == item->value);
  CHECK(back->front().item->attributes == item->attributes);
  CHECK(back->front().time == record.time);
  CHECK(*back->front().author == "me");
  CHECK(back->front().is_volatile);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    CHECK_FALSE(decode_records(bad, nullptr).has_value());
  }
  const Servers servers{{1, "https://a:1", Role::voter}, {2, "https://b:1", Role::standby}};
  CHECK((*decode_servers(encode_servers(servers)) == servers));
  CHECK_FALSE(
      decode_servers(encode_servers({{1, "x", Role::voter}, {1, "y", Role::voter}})).has_value());
  CHECK_FALSE(
      decode_servers(encode_servers({{1, "x", Role::voter}, {2, "x", Role::voter}})).has_value());
  FrameHeader header;
  header.from = 1;
  header.to = 2;
  header.address = "https://a:1";
  const std::string frame = make_frame(header, "payload");
  CHECK(parse_frame(frame)->payload == "payload");
  for (std::size_t i = 0; i < frame.size(); ++i) {
    std::string bad = frame;
    bad[i] = static_cast<char>(bad[i] ^ 0x20);
    CHECK_FALSE(parse_frame(bad).has_value());
    CHECK_FALSE(parse_frame(std::string_view(frame).substr(0, i)).has_value());
  }
}

TEST_CASE("large frames travel in pieces", "[raft][codec]") {
  Assembly assembly;
  const std::string frame(1000, 'f');
  Piece piece;
  piece.id = 4;
  piece.count = 4;
  std::optional<std::string> whole;
  for (piece.number = 0; piece.number < 4; ++piece.number) {
    piece.bytes = std::string_view(frame).substr(piece.number * 250, 250);
    const std::string body = encode_piece(piece);
    const auto post = decode_post(body);
    REQUIRE(post.has_value());
    auto added = assembly.add("a", *post->piece, 2000);
    REQUIRE(added.has_value());
    whole = *added;
  }
  CHECK(whole.value_or("") == frame);
  piece.number = 2;
  CHECK_FALSE(assembly.add("a", piece, 2000)->has_value());
  piece.number = 0;
  CHECK_FALSE(assembly.add("a", piece, 100).has_value());
  CHECK_FALSE(decode_post("").has_value());
  CHECK_FALSE(decode_post("\x01\xff\xff\xff\xff").has_value());
  CHECK_FALSE(decode_post("\x03xxxx").has_value());
}
