#include "formats.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "label_checks.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxSubdomain = 253;
constexpr std::size_t kMaxPortName = 15;

constexpr std::string_view kLabelRule =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kSubdomainRule =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kWildcardRule =
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    "character (e.g. '*.example.com', regex used for validation is "
    "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kLabel1035Rule =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kConfigKeyRule =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
constexpr std::string_view kHeaderRule =
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', "
    "regex used for validation is '[-A-Za-z0-9]+')";
constexpr std::string_view kEnvRule =
    "a valid environment variable name must consist only of printable ASCII characters other than "
    "'='";
constexpr std::string_view kPercentRule =
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')";

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) noexcept { return c >= 'A' && c <= 'Z'; }
bool is_lower_alnum(char c) noexcept { return is_lower(c) || is_digit(c); }
bool is_alnum(char c) noexcept { return is_lower_alnum(c) || is_upper(c); }

template <class F>
bool all(std::string_view s, F f) {
  return std::all_of(s.begin(), s.end(), f);
}

bool is_label(std::string_view s) noexcept {
  return !s.empty() && is_lower_alnum(s.front()) && is_lower_alnum(s.back()) &&
         all(s, [](char c) { return is_lower_alnum(c) || c == '-'; });
}

bool is_subdomain(std::string_view s) noexcept {
  for (;;) {
    auto dot = s.find('.');
    if (!is_label(s.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    s.remove_prefix(dot + 1);
  }
}

std::string too_long(std::size_t max) {
  return "must be no more than " + std::to_string(max) + " bytes";
}

}  // namespace

std::string range_text(std::int64_t low, std::int64_t high) {
  return "must be between " + std::to_string(low) + " and " + std::to_string(high) + ", inclusive";
}

Complaints dns1123_label_errors(std::string_view s) {
  Complaints out;
  if (s.size() > kMaxLabel) out.push_back(too_long(kMaxLabel));
  if (is_label(s)) return out;
  out.emplace_back(is_subdomain(s) ? std::string_view("must not contain dots") : kLabelRule);
  return out;
}

Complaints dns1123_subdomain_errors(std::string_view s) {
  Complaints out;
  if (s.size() > kMaxSubdomain) out.push_back(too_long(kMaxSubdomain));
  if (!is_subdomain(s)) out.emplace_back(kSubdomainRule);
  return out;
}

Complaints wildcard_subdomain_errors(std::string_view s) {
  Complaints out;
  if (s.size() > kMaxSubdomain) out.push_back(too_long(kMaxSubdomain));
  if (!s.starts_with("*.") || !is_subdomain(s.substr(2))) out.emplace_back(kWildcardRule);
  return out;
}

Complaints dns1035_label_errors(std::string_view s) {
  Complaints out;
  if (s.size() > kMaxLabel) out.push_back(too_long(kMaxLabel));
  if (!is_label(s) || !is_lower(s.front())) out.emplace_back(kLabel1035Rule);
  return out;
}

Complaints port_number_errors(std::int64_t port) {
  if (port >= 1 && port <= 65535) return {};
  return {range_text(1, 65535)};
}

Complaints port_name_errors(std::string_view s) {
  Complaints out;
  if (s.size() > kMaxPortName) out.push_back(too_long(kMaxPortName));
  if (s.empty() || !all(s, [](char c) { return is_lower_alnum(c) || c == '-'; }))
    out.emplace_back("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  if (std::none_of(s.begin(), s.end(), is_lower))
    out.emplace_back("must contain at least one letter (a-z)");
  if (s.find("--") != std::string_view::npos)
    out.emplace_back("must not contain consecutive hyphens");
  if (!s.empty() && (s.front() == '-' || s.back() == '-'))
    out.emplace_back("must not begin or end with a hyphen");
  return out;
}

Complaints env_name_errors(std::string_view s) {
  if (s.empty()) return {"environment variable name must be non-empty"};
  if (!all(s, [](char c) { return c >= ' ' && c <= '~' && c != '='; }))
    return {std::string(kEnvRule)};
  return {};
}

Complaints config_key_errors(std::string_view s) {
  Complaints out;
  if (s.size() > kMaxSubdomain) out.push_back(too_long(kMaxSubdomain));
  if (s.empty() || !all(s, [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; }))
    out.emplace_back(kConfigKeyRule);
  if (s == ".") out.emplace_back("must not be '.'");
  if (s == "..")
    out.emplace_back("must not be '..'");
  else if (s.starts_with(".."))
    out.emplace_back("must not start with '..'");
  return out;
}

Complaints http_header_errors(std::string_view s) {
  if (!s.empty() && all(s, [](char c) { return is_alnum(c) || c == '-'; })) return {};
  return {std::string(kHeaderRule)};
}

Complaints path_segment_errors(std::string_view s) {
  if (s == "." || s == "..") return {"may not be '" + std::string(s) + "'"};
  Complaints out;
  for (char c : {'/', '%'})
    if (s.find(c) != std::string_view::npos)
      out.push_back("may not contain '" + std::string(1, c) + "'");
  return out;
}

AddressFamily address_family(std::string_view ip) noexcept {
  char text[INET6_ADDRSTRLEN] = {};
  if (ip.size() >= sizeof(text)) return AddressFamily::none;
  std::copy(ip.begin(), ip.end(), text);
  unsigned char bytes[16];
  if (inet_pton(AF_INET, text, bytes) == 1) return AddressFamily::v4;
  if (inet_pton(AF_INET6, text, bytes) == 1) return AddressFamily::v6;
  return AddressFamily::none;
}

Complaints ip_errors(std::string_view s) {
  if (address_family(s) != AddressFamily::none) return {};
  return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
}

Complaints cidr_errors(std::string_view s) {
  auto slash = s.find('/');
  auto family = address_family(s.substr(0, slash));
  unsigned bits = 0;
  bool ok = slash != std::string_view::npos && family != AddressFamily::none;
  if (ok) {
    auto digits = s.substr(slash + 1);
    auto end = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    ok = !digits.empty() && end.ec == std::errc() && end.ptr == digits.data() + digits.size() &&
         bits <= (family == AddressFamily::v4 ? 32U : 128U);
  }
  if (ok) return {};
  return {"must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"};
}

Complaints percent_errors(std::string_view s) {
  if (s.size() > 1 && s.back() == '%' && all(s.substr(0, s.size() - 1), is_digit)) return {};
  return {std::string(kPercentRule)};
}

Complaints format_errors(std::string_view format, std::string_view text) {
  if (format == "dns1123label") return dns1123_label_errors(text);
  if (format == "dns1123subdomain") return dns1123_subdomain_errors(text);
  if (format == "dns1035label") return dns1035_label_errors(text);
  if (format == "qualifiedname") return label_key_errors(text);
  if (format == "labelvalue") return label_value_errors(text);
  if (format == "ip") return ip_errors(text);
  if (format == "cidr") return cidr_errors(text);
  return {};
}

}  // namespace skiff::api
