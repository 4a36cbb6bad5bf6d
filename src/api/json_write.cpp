// Value to JSON text. Written through a small buffer, so that a scalar costs a few stores and no
// check of the string's capacity.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "json_text.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {
namespace {

constexpr char kHex[] = "0123456789abcdef";

class Writer {
 public:
  Writer(std::string& out, int indent) : out_(out), indent_(indent) {}
  ~Writer() { flush(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void value(const Value& v) {
    switch (v.type()) {
      case Value::Type::null:
        raw("null");
        break;
      case Value::Type::boolean:
        raw(v.as_bool() ? "true" : "false");
        break;
      case Value::Type::integer:
        room(24);
        at_ = std::to_chars(at_, at_ + 24, v.as_int()).ptr;
        break;
      case Value::Type::number:
        room(32);
        at_ = write_double(at_, v.as_double());
        break;
      case Value::Type::string:
        string(v.as_string());
        break;
      case Value::Type::array:
        array(v.items());
        break;
      case Value::Type::object:
        object(v.members());
        break;
    }
  }

 private:
  void array(std::span<const Value> items) {
    put('[');
    ++level_;
    bool first = true;
    for (const Value& v : items) {
      if (!first) put(',');
      first = false;
      if (indent_ > 0) new_line();
      value(v);
    }
    --level_;
    if (indent_ > 0 && !first) new_line();
    put(']');
  }

  void object(std::span<const Member> members) {
    put('{');
    ++level_;
    bool first = true;
    for (const Member& m : members) {
      if (!first) put(',');
      first = false;
      if (indent_ > 0) new_line();
      if (m.name.interned() && m.name.size() < 256) {
        room(m.name.size() + 3);
        *at_++ = '"';
        std::memcpy(at_, m.name.data(), m.name.size());
        at_ += m.name.size();
        *at_++ = '"';
        *at_++ = ':';
      } else {
        string(m.name);
        put(':');
      }
      if (indent_ > 0) put(' ');
      value(m.value);
    }
    --level_;
    if (indent_ > 0 && !first) new_line();
    put('}');
  }

  void string(std::string_view s) {
    put('"');
    const char* p = s.data();
    const char* end = p + s.size();
    while (p != end) {
      const char* run = p;
      std::size_t sequence = 0;
      do {  // well-formed UTF-8 needs no escape
        p = skip_plain(p + sequence, end);
        sequence = p != end && static_cast<signed char>(*p) < 0 ? utf8_length(p, end) : 0;
      } while (sequence != 0);
      raw({run, static_cast<std::size_t>(p - run)});
      if (p == end) break;
      if (static_cast<signed char>(*p) < 0) {
        raw("\\ufffd");  // a message may quote what somebody sent
        ++p;
      } else {
        escape(*p++);
      }
    }
    put('"');
  }

  void escape(char c) {
    room(6);
    *at_++ = '\\';
    switch (c) {
      case '"':
      case '\\':
        *at_++ = c;
        break;
      case '\b':
        *at_++ = 'b';
        break;
      case '\f':
        *at_++ = 'f';
        break;
      case '\n':
        *at_++ = 'n';
        break;
      case '\r':
        *at_++ = 'r';
        break;
      case '\t':
        *at_++ = 't';
        break;
      default:
        std::memcpy(at_, "u00", 3);
        at_ += 3;
        *at_++ = kHex[static_cast<unsigned char>(c) >> 4U];
        *at_++ = kHex[static_cast<unsigned char>(c) & 15U];
    }
  }

  void new_line() {
    put('\n');
    for (int i = 0; i < level_ * indent_; ++i) put(' ');
  }

  void put(char c) {
    room(1);
    *at_++ = c;
  }

  void raw(std::string_view s) {
    if (s.size() > kSize / 4) {
      flush();
      out_.append(s);
      return;
    }
    room(s.size());
    std::memcpy(at_, s.data(), s.size());
    at_ += s.size();
  }

  void room(std::size_t n) {
    if (static_cast<std::size_t>(buffer_.data() + kSize - at_) < n) flush();
  }

  void flush() {
    out_.append(buffer_.data(), static_cast<std::size_t>(at_ - buffer_.data()));
    at_ = buffer_.data();
  }

  static constexpr std::size_t kSize = 4096;
  std::string& out_;
  int indent_;
  int level_ = 0;
  std::array<char, kSize> buffer_;  // NOLINT: filled before it is read
  char* at_ = buffer_.data();
};

}  // namespace

char* write_double(char* out, double v) noexcept {
  if (!std::isfinite(v)) {
    std::memcpy(out, "null", 4);
    return out + 4;
  }
  // "-d.ddde+XX": the digits are right, only their layout is Go's.
  char text[32];
  char* end = std::to_chars(text, text + sizeof text, v, std::chars_format::scientific).ptr;
  char* e = std::find(text, end, 'e');
  int exponent = 0;
  std::from_chars(e[1] == '+' ? e + 2 : e + 1, end, exponent);
  if (v != 0 && (exponent < -6 || exponent >= 21)) {
    out = std::copy(text, e, out);
    *out++ = 'e';
    *out++ = exponent < 0 ? '-' : '+';
    return std::to_chars(out, out + 4, std::abs(exponent)).ptr;
  }
  if (*text == '-') *out++ = '-';
  char digits[24];
  char* last = std::remove_copy_if(text, e, digits, [](char c) { return c == '.' || c == '-'; });
  const auto count = static_cast<int>(last - digits);
  if (exponent < 0) {
    *out++ = '0';
    *out++ = '.';
    out = std::fill_n(out, -exponent - 1, '0');
    return std::copy(digits, last, out);
  }
  const int whole = std::min(count, exponent + 1);
  out = std::copy(digits, digits + whole, out);
  out = std::fill_n(out, exponent + 1 - whole, '0');
  if (whole == count) return out;
  *out++ = '.';
  return std::copy(digits + whole, last, out);
}

std::string quote_byte(char byte) {
  const auto c = static_cast<unsigned char>(byte);
  std::string out = "'";
  switch (c) {
    case '\'':
      out += "\\'";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\a':
      out += "\\a";
      break;
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    case '\v':
      out += "\\v";
      break;
    default:
      if (c < 0x20 || c == 0x7F) {
        out += {'\\', 'x', kHex[c >> 4U], kHex[c & 15U]};
      } else if ((c >= 0x80 && c <= 0xA0) || c == 0xAD) {
        out += {'\\', 'u', '0', '0', kHex[c >> 4U], kHex[c & 15U]};
      } else {
        append_utf8(out, c);
      }
  }
  return out + "'";
}

void append_json(std::string& out, const Value& v) { Writer(out, 0).value(v); }

std::string to_json(const Value& v, int indent) {
  std::string out;
  Writer(out, indent).value(v);
  return out;
}

}  // namespace skiff::api
