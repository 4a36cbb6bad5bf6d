// A snapshot from anywhere: refused with a sentence, or read whole.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "fuzz.hpp"
#include "skiff/base/result.hpp"
#include "snapshot_format.hpp"

using namespace skiff::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path =
      std::filesystem::temp_directory_path() / ("skiff-fuzz-" + std::to_string(::getpid()));
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // Records alone, without the checksums that keep most inputs out.
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const std::size_t before = rest.size();
    if (!get_record(rest, nullptr)) break;
    SKIFF_ASSERT(rest.size() < before, "a record takes bytes");
  }
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  std::uint64_t seen = 0;
  const auto loaded = load_snapshot(path, {}, [&](Record) { ++seen; });
  const auto checked = check_snapshot(path);
  if (loaded) SKIFF_ASSERT(checked && checked->keys == seen, "what loads is whole");
  if (!checked) SKIFF_ASSERT(!checked.error().message.empty() && seen == 0, "refused before used");
  std::filesystem::remove(path);
  return 0;
}

namespace {

std::string snapshot(int keys) {
  SnapshotInfo info;
  info.cluster = "c";
  info.revision = 100;
  std::string out(kSnapshotMagic);
  put_number(out, kSnapshotFormat, 4);
  out += encode_block(BlockType::about, 0, encode_about(info));
  std::string body;
  for (int i = 0; i < keys; ++i) {
    Item item;
    item.key = "/k/" + std::to_string(i);
    item.value = "{\"v\":1}";
    item.created = item.modified = i + 1;
    item.attributes = {{"a", "b"}};
    put_record(body, item, nullptr);
  }
  std::uint64_t index = 1;
  if (keys > 0) out += encode_block(BlockType::records, index++, body);
  std::string end;
  put_number(end, static_cast<std::uint64_t>(keys), 8);
  put_number(end, out.size(), 8);
  return out + encode_block(BlockType::end, index, end);
}

}  // namespace

std::span<const std::string_view> fuzz_seeds() {
  static const std::string kFiles[] = {snapshot(0), snapshot(3), snapshot(9)};
  static const std::string_view kSeeds[] = {kFiles[0], kFiles[1], kFiles[2],
                                            std::string_view(kFiles[1]).substr(60)};
  return kSeeds;
}
