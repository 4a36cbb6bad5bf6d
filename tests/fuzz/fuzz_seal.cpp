// The envelope of encryption at rest, and the file of its keys.
#include "fuzz.hpp"
#include "skiff/pki/seal.hpp"

using namespace skiff;
using namespace skiff::pki;

namespace {

const SealKeys& ring() {
  static const SealKeys keys = [] {
    SeededRandom random(1);
    return SealKeys::generate(random).with_new_key(random);
  }();
  return keys;
}

std::string good_envelope(std::uint64_t seed) {
  SeededRandom random(seed);
  return ring().seal(random, "name", "some value");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto opened = ring().open("name", text);
  SKIFF_ASSERT(!opened || *opened == "some value", "nothing opens that was not sealed");
  SKIFF_ASSERT(opened || !opened.error().message.empty(), "an error says what is wrong");
  SKIFF_ASSERT(!opened || sealed_with(text), "what opens names its key");
  if (const auto keys = SealKeys::parse(text)) {
    const auto again = SealKeys::parse(keys->to_text());
    SKIFF_ASSERT(again && again->ids() == keys->ids(), "keys survive their text form");
  }
  SeededRandom random(size);
  const std::string sealed = ring().seal(random, text, text);
  const auto back = ring().open(text, sealed);
  SKIFF_ASSERT(back && *back == text, "what is sealed opens again");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static const std::string kEnvelopes[] = {good_envelope(2), good_envelope(3)};
  static const std::string_view kSeeds[] = {kEnvelopes[0], kEnvelopes[1],
                                            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
                                            "# comment\n", std::string_view("\x01", 1)};
  return kSeeds;
}
