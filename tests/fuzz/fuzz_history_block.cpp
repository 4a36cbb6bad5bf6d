// A block of superseded versions from a damaged file: read whole, or refused.
#include "fuzz.hpp"
#include "history_block.hpp"
#include "skiff/base/result.hpp"

using namespace skiff::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t half = size / 2;
  BlockDirectory directory(bytes.substr(0, half));
  std::size_t entries = 0;
  while (directory.next()) {
    ++entries;
    RawRecord raw;
    if (!read_block_row(bytes.substr(half), directory.entry(), raw)) continue;
    SKIFF_ASSERT(raw.value.size() <= size, "a value lies in the block");
  }
  SKIFF_ASSERT(entries <= half, "an entry takes bytes");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static const std::string kBlock = [] {
    BlockWriter block;
    RawRecord raw;
    raw.key = "core/pods/default/web";
    raw.value = "{}";
    raw.author = "kim";
    for (int i = 1; i < 9; ++i) {
      raw.revision = i;
      block.add(raw, 2 * i, i);
    }
    std::string rows = block.rows();
    rows.resize(std::max(rows.size(), block.directory().size()));
    std::string directory = block.directory();
    while (directory.size() < rows.size()) rows.pop_back();
    return directory + rows;
  }();
  static const std::string_view kSeeds[] = {kBlock};
  return kSeeds;
}
