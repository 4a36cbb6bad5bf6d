// The docker reference grammar: [host[:port]/]path[:tag][@digest].
#include <fmt/format.h>

#include <algorithm>

#include "skiff/runtime/images.hpp"

namespace skiff::runtime {
namespace {

constexpr std::size_t kMaxName = 255;

bool lower(char c) { return c >= 'a' && c <= 'z'; }
bool upper(char c) { return c >= 'A' && c <= 'Z'; }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool word(char c) { return lower(c) || upper(c) || digit(c) || c == '_'; }

// Runs of [a-z0-9] joined by one of ".", "_", "__" or any number of "-".
bool path_component(std::string_view s) {
  std::size_t i = 0;
  const auto run = [&] {
    const std::size_t from = i;
    while (i < s.size() && (lower(s[i]) || digit(s[i]))) ++i;
    return i > from;
  };
  if (!run()) return false;
  while (i < s.size()) {
    if (s[i] == '.') {
      ++i;
    } else if (s[i] == '_') {
      ++i;
      if (i < s.size() && s[i] == '_') ++i;
    } else if (s[i] == '-') {
      while (i < s.size() && s[i] == '-') ++i;
    } else {
      return false;
    }
    if (!run()) return false;
  }
  return true;
}

bool path(std::string_view s) {
  while (true) {
    const auto slash = s.find('/');
    if (!path_component(s.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    s.remove_prefix(slash + 1);
  }
}

bool host_label(std::string_view s) {
  const auto good = [](char c) { return lower(c) || upper(c) || digit(c) || c == '-'; };
  return !s.empty() && s.front() != '-' && s.back() != '-' && std::all_of(s.begin(), s.end(), good);
}

bool host(std::string_view s) {
  if (s.starts_with('[')) {
    const auto end = s.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    s.remove_prefix(end + 1);
    if (s.empty()) return true;
    if (s.front() != ':') return false;
    s.remove_prefix(1);
    return !s.empty() && std::all_of(s.begin(), s.end(), digit);
  }
  const auto colon = s.find(':');
  if (colon != std::string_view::npos) {
    const auto port = s.substr(colon + 1);
    if (port.empty() || !std::all_of(port.begin(), port.end(), digit)) return false;
    s = s.substr(0, colon);
  }
  while (true) {
    const auto dot = s.find('.');
    if (!host_label(s.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    s.remove_prefix(dot + 1);
  }
}

bool tag_text(std::string_view s) {
  const auto good = [](char c) { return word(c) || c == '.' || c == '-'; };
  return !s.empty() && s.size() <= 128 && word(s.front()) && std::all_of(s.begin(), s.end(), good);
}

bool digest_text(std::string_view s) {
  const auto colon = s.find(':');
  if (colon == std::string_view::npos) return false;
  const auto algorithm = s.substr(0, colon), hex = s.substr(colon + 1);
  const std::size_t length = algorithm == "sha256" ? 64 : algorithm == "sha512" ? 128 : 0;
  return length != 0 && hex.size() == length && std::all_of(hex.begin(), hex.end(), [](char c) {
           return digit(c) || (c >= 'a' && c <= 'f');
         });
}

bool is_host(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), upper);
}

Error bad(std::string_view text, std::string_view why) {
  return {Code::invalid, fmt::format("couldn't parse image reference \"{}\": {}", text, why)};
}

}  // namespace

Result<ImageReference> ImageReference::parse(std::string_view text) {
  ImageReference ref;
  std::string_view rest = text;
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    ref.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!digest_text(ref.digest)) return bad(text, "invalid reference format");
  }
  const auto slash = rest.rfind('/');
  const auto colon = rest.rfind(':');
  const bool tagged =
      colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash);
  if (tagged) {
    ref.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!tag_text(ref.tag)) return bad(text, "invalid reference format");
  } else if (ref.digest.empty()) {
    ref.tag = "latest";
  }
  const auto first = rest.find('/');
  if (first != std::string_view::npos && is_host(rest.substr(0, first))) {
    ref.registry = rest.substr(0, first);
    rest.remove_prefix(first + 1);
    if (!host(ref.registry)) return bad(text, "invalid reference format");
  }
  ref.repository = rest;
  if (!path(rest)) {
    if (std::any_of(rest.begin(), rest.end(), upper)) {
      return bad(
          text,
          fmt::format("invalid reference format: repository name ({}) must be lowercase", rest));
    }
    return bad(text, "invalid reference format");
  }
  if (ref.name().size() > kMaxName) {
    return bad(text, fmt::format("repository name must not be more than {} characters", kMaxName));
  }
  return ref;
}

std::string ImageReference::name() const {
  return registry.empty() ? repository : registry + "/" + repository;
}

std::string ImageReference::to_string() const {
  return digest.empty() ? name() + ":" + tag : name() + "@" + digest;
}

}  // namespace skiff::runtime
