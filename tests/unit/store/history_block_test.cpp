// Blocks of superseded versions: what goes in comes out, and damaged bytes are noticed.
#include <catch2/catch_test_macros.hpp>

#include "history_block.hpp"
#include "record_codec.hpp"
#include "skiff/base/random.hpp"

namespace skiff::store::testing {
namespace {

struct Made {
  RawRecord raw;
  std::string key, attributes, value, author;
  std::int64_t ended = 0;
};

std::vector<Made> make(SeededRandom& random, int n) {
  std::vector<Made> all(static_cast<std::size_t>(n));
  std::int64_t ended = 0;
  for (Made& m : all) {
    m.key = "core/pods/default/web-" + std::to_string(random.below(40));
    m.attributes = std::string(random.below(20), 'a');
    m.value = std::string(random.below(3000), static_cast<char>(random.below(256)));
    m.author = random.below(3) == 0 ? "" : "kim";
    m.raw.revision = static_cast<Revision>(random.below(1U << 20U)) + 1;
    m.raw.previous = static_cast<Revision>(random.below(1U << 20U));
    m.raw.created = static_cast<Revision>(random.below(1U << 20U));
    m.raw.flags = static_cast<unsigned>(random.below(16));
    m.raw.checksum = random.next();
    m.raw.time = static_cast<std::int64_t>(random.next() >> 2U);
    m.ended = ended += static_cast<std::int64_t>(random.below(9));
    m.raw.key = m.key;
    m.raw.attributes = m.attributes;
    m.raw.value = m.value;
    m.raw.author = m.author;
  }
  return all;
}

}  // namespace

TEST_CASE("what goes into a block comes out of it") {
  SeededRandom random(3);
  for (const int n : {1, 2, 48, 700}) {
    const auto all = make(random, n);
    BlockWriter block;
    CHECK(block.empty());
    for (const Made& m : all) block.add(m.raw, m.ended, 1000 - m.ended);
    CHECK(block.ended() == all.back().ended);
    CHECK(block.until() == std::max<std::int64_t>(0, 1000 - all.front().ended));
    CHECK(block.bytes() == block.directory().size() + block.rows().size());
    BlockDirectory directory(block.directory());
    for (const Made& m : all) {
      REQUIRE(directory.next());
      CHECK(directory.entry().key == m.key);
      CHECK(directory.entry().revision == m.raw.revision);
      CHECK(directory.entry().ended == m.ended);
      RawRecord raw;
      REQUIRE(read_block_row(block.rows(), directory.entry(), raw));
      CHECK(raw.key == m.key);
      CHECK(raw.revision == m.raw.revision);
      CHECK(raw.previous == m.raw.previous);
      CHECK(raw.created == m.raw.created);
      CHECK(raw.flags == m.raw.flags);
      CHECK(raw.checksum == m.raw.checksum);
      CHECK(raw.time == m.raw.time);
      CHECK(raw.attributes == m.attributes);
      CHECK(raw.value == m.value);
      CHECK(raw.author == m.author);
    }
    CHECK(!directory.next());
    CHECK(!directory.damaged());
  }
}

TEST_CASE("a directory that is cut is damaged, or tells less") {
  SeededRandom random(4);
  const auto all = make(random, 5);
  BlockWriter block;
  for (const Made& m : all) block.add(m.raw, m.ended, 0);
  for (std::size_t n = 1; n < block.directory().size(); ++n) {
    BlockDirectory directory(std::string_view(block.directory()).substr(0, n));
    std::size_t entries = 0;
    while (directory.next()) ++entries;
    CHECK((directory.damaged() || entries < all.size()));
  }
}

TEST_CASE("rows out of reach, cut or too long are refused") {
  SeededRandom random(5);
  const auto all = make(random, 1);
  BlockWriter block;
  block.add(all[0].raw, 2, 0);
  BlockDirectory directory(block.directory());
  REQUIRE(directory.next());
  RawRecord raw;
  BlockEntry entry = directory.entry();
  entry.size -= 1;
  CHECK(!read_block_row(block.rows(), entry, raw));
  entry.size += 2;
  CHECK(!read_block_row(block.rows(), entry, raw));
  CHECK(!read_block_row(block.rows() + "x", entry, raw));
  entry.at = block.rows().size() + 1;
  entry.size = 0;
  CHECK(!read_block_row(block.rows(), entry, raw));
}

}  // namespace skiff::store::testing
