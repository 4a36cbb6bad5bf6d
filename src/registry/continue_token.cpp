#include "continue_token.hpp"

namespace skiff::registry {
namespace {

constexpr std::string_view kVersion = "s1";
constexpr std::string_view kDigits = "0123456789abcdef";

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string> unhex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const auto high = kDigits.find(text[i]);
    const auto low = kDigits.find(text[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    out += static_cast<char>(high << 4U | low);
  }
  return out;
}

}  // namespace

std::string ContinueToken::encode() const {
  std::string out(kVersion);
  out += '.' + std::to_string(revision) + '.' + std::to_string(remaining) + '.';
  for (const char c : after) {
    out += kDigits[static_cast<std::uint8_t>(c) >> 4U];
    out += kDigits[static_cast<std::uint8_t>(c) & 15U];
  }
  return out;
}

Result<ContinueToken> ContinueToken::decode(std::string_view text) {
  const Error bad{Code::bad_request,
                  "continue key is not valid: it was not returned by an earlier list"};
  std::array<std::string_view, 4> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto dot = i + 1 < parts.size() ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return bad;
    parts[i] = text.substr(0, dot);
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  const auto revision = number(parts[1]);
  const auto remaining = number(parts[2]);
  auto after = unhex(parts[3]);
  if (parts[0] != kVersion || !revision || !remaining || !after || *revision < -1 ||
      *revision == 0) {
    return bad;
  }
  return ContinueToken{*revision, std::move(*after), *remaining};
}

}  // namespace skiff::registry
