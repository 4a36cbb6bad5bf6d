#include "fuzz.hpp"
#include "skiff/api/quantity.hpp"

using namespace skiff::api;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto q = Quantity::parse(text);
  if (!q) {
    SKIFF_ASSERT(!q.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  const std::string canonical = q->to_string();
  const auto again = Quantity::parse(canonical);
  SKIFF_ASSERT(again.has_value() && *again == *q, "the canonical form means the same");
  SKIFF_ASSERT(again->to_string() == canonical, "the canonical form is stable");
  const auto kept = Quantity::canonicalize(text);
  SKIFF_ASSERT(kept.has_value() && *Quantity::parse(*kept) == *q, "what is kept means the same");
  SKIFF_ASSERT(*Quantity::canonicalize(*kept) == *kept, "what is kept is stable");
  SKIFF_ASSERT((*q - *q).zero(), "a quantity less itself is nothing");
  SKIFF_ASSERT(q->negative() == (q->value() < 0) && q->zero() == (q->value() == 0),
               "rounding keeps the sign");
  (void)(*q + *q).milli_value();
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      "0",     "1500m", "1.5Gi", "1024Mi", "-0.5Gi",
      "1e3",   "12E-6", "100k",  "+007",   "1E",
      "8Ei",   "0.1n",  ".5",    "5.",     "123456789012345678901",
      "1.500", "3u",    "1e-9",  "2Ki",    "9Ti",
      "4Pi",   "7T",    "1G",    "6P",
  };
  return kSeeds;
}
