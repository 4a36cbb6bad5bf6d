#include "skiff/http/message.hpp"

#include <algorithm>

#include "text.hpp"

namespace skiff::http {

std::string_view name_of(Method method) noexcept {
  switch (method) {
    case Method::get:
      return "GET";
    case Method::head:
      return "HEAD";
    case Method::post:
      return "POST";
    case Method::put:
      return "PUT";
    case Method::patch:
      return "PATCH";
    case Method::delete_:
      return "DELETE";
    case Method::options:
      return "OPTIONS";
    case Method::connect:
      return "CONNECT";
    case Method::other:
      break;
  }
  return "OTHER";
}

Method parse_method(std::string_view text) noexcept {
  for (const Method m : {Method::get, Method::post, Method::put, Method::patch, Method::delete_,
                         Method::head, Method::options, Method::connect}) {
    if (text == name_of(m)) return m;
  }
  return Method::other;
}

namespace {

struct Reason {
  int status;
  std::string_view text;
};
constexpr Reason kReasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {413, "Request Entity Too Large"},
    {414, "Request URI Too Long"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Entity"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

}  // namespace

std::string_view reason_of(int status) noexcept {
  for (const Reason& r : kReasons) {
    if (r.status == status) return r.text;
  }
  return "";
}

const std::string* Headers::find(std::string_view name) const noexcept {
  for (const Field& f : fields_) {
    if (iequals(f.name, name)) return &f.value;
  }
  return nullptr;
}

std::string_view Headers::get(std::string_view name) const noexcept {
  const std::string* value = find(name);
  return value != nullptr ? std::string_view(*value) : std::string_view{};
}

std::vector<std::string_view> Headers::all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const Field& f : fields_) {
    if (iequals(f.name, name)) values.emplace_back(f.value);
  }
  return values;
}

bool Headers::has_token(std::string_view name, std::string_view token) const noexcept {
  for (const Field& f : fields_) {
    if (!iequals(f.name, name)) continue;
    std::string_view rest = f.value;
    while (!rest.empty()) {
      if (iequals(trim(next_part(rest, ',')), token)) return true;
    }
  }
  return false;
}

void Headers::set(std::string_view name, std::string value) {
  erase(name);
  add(std::string(name), std::move(value));
}

void Headers::erase(std::string_view name) {
  std::erase_if(fields_, [&](const Field& f) { return iequals(f.name, name); });
}

std::size_t total_size(const Buffers& buffers) noexcept {
  std::size_t size = 0;
  for (const Buffer& b : buffers) size += b.size();
  return size;
}

std::string join(const Buffers& buffers) {
  std::string out;
  out.reserve(total_size(buffers));
  for (const Buffer& b : buffers) out += b.bytes();
  return out;
}

namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool unreserved(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

}  // namespace

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '+' && plus_is_space) {
      out += ' ';
    } else if (c != '%') {
      out += c;
    } else {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return Error{Code::bad_request,
                     "invalid URL escape \"" + std::string(text.substr(i, 3)) + "\""};
      }
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

std::string percent_encode(std::string_view text, std::string_view also_keep) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (unreserved(c) || also_keep.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

Result<Query> Query::parse(std::string_view text) {
  Query query;
  while (!text.empty()) {
    std::string_view value = next_part(text, '&');
    if (value.empty()) continue;
    const std::string_view key = next_part(value, '=');
    SKIFF_TRY(std::string decoded_key, percent_decode(key, true));
    SKIFF_TRY(std::string decoded_value, percent_decode(value, true));
    query.add(std::move(decoded_key), std::move(decoded_value));
  }
  return query;
}

const std::string* Query::find(std::string_view key) const noexcept {
  for (const auto& [k, v] : pairs_) {
    if (k == key) return &v;
  }
  return nullptr;
}

std::string_view Query::get(std::string_view key) const noexcept {
  const std::string* value = find(key);
  return value != nullptr ? std::string_view(*value) : std::string_view{};
}

std::vector<std::string_view> Query::all(std::string_view key) const {
  std::vector<std::string_view> values;
  for (const auto& [k, v] : pairs_) {
    if (k == key) values.emplace_back(v);
  }
  return values;
}

std::string Query::to_string() const {
  std::string out;
  for (const auto& [k, v] : pairs_) {
    if (!out.empty()) out += '&';
    out += percent_encode(k);
    out += '=';
    out += percent_encode(v);
  }
  return out;
}

Result<Url> Url::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error{Code::bad_request,
                 "\"" + std::string(text) + "\" is not a usable URL: " + std::string(why)};
  };
  Url url;
  std::string_view rest = text;
  const std::size_t scheme_end = rest.find("://");
  if (scheme_end == std::string_view::npos) {
    return refuse("it must start with http:// or https://");
  }
  const std::string_view scheme = rest.substr(0, scheme_end);
  if (!iequals(scheme, "http") && !iequals(scheme, "https")) {
    return refuse("only http and https are known");
  }
  url.tls = iequals(scheme, "https");
  rest.remove_prefix(scheme_end + 3);
  rest = rest.substr(0, rest.find('#'));
  const std::size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, authority_end);
  rest.remove_prefix(authority_end);
  if (authority.find('@') != std::string_view::npos) return refuse("it holds user information");

  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return refuse("the address has no closing bracket");
    url.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    if (!port.empty() && port.front() != ':') return refuse("the port must follow a colon");
  } else {
    const std::size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (url.host.empty()) return refuse("it names no host");
  if (url.host.find_first_of(" \t\r\n%") != std::string::npos) return refuse("the host is odd");
  url.port = url.tls ? 443 : 80;
  if (port.size() > 1) {
    port.remove_prefix(1);
    const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (ec != std::errc{} || end != port.data() + port.size() || url.port == 0) {
      return refuse("the port must be a number from 1 to 65535");
    }
  }
  for (const char c : rest) {
    if (c <= ' ' || c == '\x7f') return refuse("it holds spaces or control characters");
  }
  url.target = rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);
  return url;
}

std::string Url::authority() const {
  std::string out = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  if (port != (tls ? 443 : 80)) out += ":" + std::to_string(port);
  return out;
}

}  // namespace skiff::http
