// JSON text to Value (RFC 8259) in one pass with an explicit stack, so that depth costs heap and is
// bounded. Written by hand rather than on RapidJSON because clients see the error texts: they are
// those of Go's encoding/json, which names the character and where it stood.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "json_text.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {
namespace {

constexpr std::size_t kLinearDuplicates = 16;
// Room from the start for what most documents have open at a time.
constexpr std::size_t kUsualMembers = 16;
constexpr std::size_t kUsualDepth = 8;
constexpr std::size_t kMaxDuplicates = 100;

bool is_space(char c) noexcept { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

class Reader {
 public:
  Reader(std::string_view text, ParseLimits limits, std::vector<std::string>* duplicates)
      : begin_(text.data()),
        p_(text.data()),
        end_(text.data() + text.size()),
        limits_(limits),
        duplicates_(duplicates) {
    members_.reserve(kUsualMembers);
    frames_.reserve(kUsualDepth);
  }

  Result<Value> read() {
    Value root;
    if (!document(root)) {
      // The containers begun so far are dropped with members_ and values_.
      return Error{Code::bad_request,
                   error_ + " (offset " + std::to_string(error_at_ - begin_) + ")"};
    }
    return root;
  }

 private:
  struct Frame {
    bool is_object;
    std::size_t start;   // of its children in members_ or values_
    std::size_t target;  // object: the member whose value is being read
  };

  bool document(Value& root);
  bool open(bool is_object);
  bool key(Frame& frame);
  bool close(Value& out);
  void attach(Frame& frame, Value v);
  bool scalar(Value& out);
  bool literal(std::string_view word, Value v, Value& out);
  bool number(Value& out);
  bool big_number(const char* start, bool integral, Value& out);
  bool string(std::string_view& out);
  bool string_slow(const char* start, std::string_view& out);
  bool escape(std::string& out);
  bool hex4(std::uint32_t& unit);
  void drop_duplicates(std::size_t start);
  void report_duplicate(std::string_view name, std::size_t parents);

  void skip_space() noexcept {
    while (p_ != end_ && is_space(*p_)) ++p_;
  }
  bool fail(std::string message) {
    error_ = std::move(message);
    error_at_ = p_;
    return false;
  }
  // `invalid character 'x' looking for ...`, or the end of the input.
  bool fail_at(std::string_view context) {
    if (p_ == end_) return fail("unexpected end of JSON input");
    return fail("invalid character " + quote_byte(*p_) + " " + std::string(context));
  }

  // The same inside a token, where Go's scanner takes the end of the input for a blank.
  bool fail_in(std::string_view context) {
    return fail("invalid character " + quote_byte(p_ == end_ ? ' ' : *p_) + " " +
                std::string(context));
  }

  const char* begin_;
  const char* p_;
  const char* end_;
  ParseLimits limits_;
  std::vector<std::string>* duplicates_;
  // Children of the containers still open; moved out, exactly sized, when their container closes.
  std::vector<Member> members_;
  std::vector<Value> values_;
  std::vector<Frame> frames_;
  std::string scratch_;  // of strings with escapes
  std::string error_;
  const char* error_at_ = nullptr;
};

bool Reader::document(Value& root) {
  Value v;
  skip_space();
  for (;;) {
    // At the beginning of a value.
    if (p_ != end_ && (*p_ == '{' || *p_ == '[')) {
      const bool is_object = *p_ == '{';
      if (!open(is_object)) return false;
      skip_space();
      if (p_ == end_ || *p_ != (is_object ? '}' : ']')) {
        if (is_object && !key(frames_.back())) return false;
        continue;
      }
      ++p_;
      if (!close(v)) return false;
    } else if (!scalar(v)) {
      return false;
    }
    // After a value: hand it to its container, and close those that end here.
    for (;;) {
      skip_space();
      if (frames_.empty()) {
        root = std::move(v);
        return p_ == end_ || fail_at("after top-level value");
      }
      Frame& frame = frames_.back();
      attach(frame, std::move(v));
      if (p_ != end_ && *p_ == ',') {
        ++p_;
        skip_space();
        if (frame.is_object && !key(frame)) return false;
        break;
      }
      if (p_ == end_ || *p_ != (frame.is_object ? '}' : ']')) {
        return fail_at(frame.is_object ? "after object key:value pair" : "after array element");
      }
      ++p_;
      if (!close(v)) return false;
    }
  }
}

bool Reader::open(bool is_object) {
  if (frames_.size() >= limits_.max_depth) return fail("exceeded max depth");
  ++p_;
  frames_.push_back({is_object, is_object ? members_.size() : values_.size(), 0});
  return true;
}

// Reads `"name" :` and leaves p_ at the beginning of the value.
bool Reader::key(Frame& frame) {
  if (p_ == end_ || *p_ != '"') return fail_at("looking for beginning of object key string");
  std::string_view text;
  if (!string(text)) return false;
  skip_space();
  if (p_ == end_ || *p_ != ':') return fail_at("after object key");
  ++p_;
  skip_space();
  Name name(text);
  frame.target = members_.size();
  if (members_.size() - frame.start <= kLinearDuplicates) {
    for (std::size_t i = frame.start; i < members_.size(); ++i) {
      if (members_[i].name != name) continue;
      frame.target = i;
      if (duplicates_ != nullptr) report_duplicate(name, frames_.size() - 1);
      return true;
    }
  }
  members_.push_back({std::move(name), Value()});
  return true;
}

void Reader::attach(Frame& frame, Value v) {
  if (frame.is_object) {
    members_[frame.target].value = std::move(v);
  } else {
    values_.push_back(std::move(v));
  }
}

bool Reader::close(Value& out) {
  const Frame frame = frames_.back();
  frames_.pop_back();
  if (frame.is_object) {
    if (members_.size() - frame.start > kLinearDuplicates) drop_duplicates(frame.start);
    const auto first = members_.begin() + static_cast<std::ptrdiff_t>(frame.start);
    std::vector<Member> own;
    own.reserve(members_.size() - frame.start);
    std::move(first, members_.end(), std::back_inserter(own));
    members_.erase(first, members_.end());
    out = Value::object(std::move(own));
  } else {
    const auto first = values_.begin() + static_cast<std::ptrdiff_t>(frame.start);
    std::vector<Value> own;
    own.reserve(values_.size() - frame.start);
    std::move(first, values_.end(), std::back_inserter(own));
    values_.erase(first, values_.end());
    out = Value::array(std::move(own));
  }
  return true;
}

// Large objects: sorted once instead of compared pairwise; of equal names the last survives.
void Reader::drop_duplicates(std::size_t start) {
  std::vector<std::size_t> order(members_.size() - start);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = start + i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int c = members_[a].name.compare(members_[b].name);
    return c != 0 ? c < 0 : a < b;
  });
  std::vector<std::size_t> dead;
  for (std::size_t i = 0; i + 1 < order.size(); ++i) {
    if (members_[order[i]].name != members_[order[i + 1]].name) continue;
    dead.push_back(order[i]);
    if (duplicates_ != nullptr) report_duplicate(members_[order[i]].name, frames_.size());
  }
  if (dead.empty()) return;
  std::sort(dead.begin(), dead.end());
  std::size_t write = dead.front();
  auto next = dead.begin();
  for (std::size_t read = write; read < members_.size(); ++read) {
    if (next != dead.end() && *next == read) {
      ++next;
    } else {
      members_[write++] = std::move(members_[read]);
    }
  }
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(write), members_.end());
}

// `parents`: how many of the open frames lie around the object that holds `name`.
void Reader::report_duplicate(std::string_view name, std::size_t parents) {
  if (duplicates_->size() >= kMaxDuplicates) return;
  std::string path;
  for (std::size_t i = 0; i < parents; ++i) {
    const Frame& f = frames_[i];
    if (f.is_object) {
      if (!path.empty()) path += '.';
      path += members_[f.target].name;
    } else {
      path += "[" + std::to_string(values_.size() - f.start) + "]";
    }
  }
  if (!path.empty()) path += '.';
  path += name;
  duplicates_->push_back(std::move(path));
}

bool Reader::scalar(Value& out) {
  if (p_ == end_) return fail_at("");
  switch (*p_) {
    case '"': {
      std::string_view text;
      if (!string(text)) return false;
      out = Value(text);
      return true;
    }
    case 't':
      return literal("true", Value(true), out);
    case 'f':
      return literal("false", Value(false), out);
    case 'n':
      return literal("null", Value(), out);
    default:
      if (*p_ == '-' || is_digit(*p_)) return number(out);
      return fail_at("looking for beginning of value");
  }
}

bool Reader::literal(std::string_view word, Value v, Value& out) {
  for (const char c : word) {
    if (p_ == end_ || *p_ != c) {
      return fail_in("in literal " + std::string(word) + " (expecting '" + c + "')");
    }
    ++p_;
  }
  out = std::move(v);
  return true;
}

bool Reader::number(Value& out) {
  const char* start = p_;
  const bool negative = *p_ == '-';
  if (negative) ++p_;
  if (p_ == end_ || !is_digit(*p_)) return fail_in("in numeric literal");
  const char* digits = p_;
  std::uint64_t magnitude = 0;
  if (*p_ == '0') {
    ++p_;
  } else {
    for (; p_ != end_ && is_digit(*p_); ++p_) {
      magnitude = magnitude * 10 + static_cast<std::uint64_t>(*p_ - '0');
    }
  }
  bool integral = true;
  const auto count = p_ - digits;
  if (p_ != end_ && *p_ == '.') {
    integral = false;
    ++p_;
    if (p_ == end_ || !is_digit(*p_)) return fail_in("after decimal point in numeric literal");
    while (p_ != end_ && is_digit(*p_)) ++p_;
  }
  if (p_ != end_ && (*p_ == 'e' || *p_ == 'E')) {
    integral = false;
    ++p_;
    if (p_ != end_ && (*p_ == '+' || *p_ == '-')) ++p_;
    if (p_ == end_ || !is_digit(*p_)) return fail_in("in exponent of numeric literal");
    while (p_ != end_ && is_digit(*p_)) ++p_;
  }
  if (!integral || count > 18) return big_number(start, integral, out);
  const auto value = static_cast<std::int64_t>(magnitude);
  out = Value(negative ? -value : value);
  return true;
}

bool Reader::big_number(const char* start, bool integral, Value& out) {
  if (integral) {
    std::int64_t value = 0;
    if (std::from_chars(start, p_, value).ec == std::errc()) {
      out = Value(value);
      return true;
    }
  }
  double value = 0;
  const auto [rest, ec] = std::from_chars(start, p_, value);
  if (ec == std::errc::result_out_of_range) {
    // Too small reads as zero, too large is an error, as in Go.
    const std::string_view text(start, static_cast<std::size_t>(p_ - start));
    const auto e = text.find_first_of("eE");
    if (e == std::string_view::npos || text[e + 1] != '-') {
      p_ = start;
      return fail("json: cannot unmarshal number " + std::string(text.substr(0, 64)) +
                  " into Go value of type float64");
    }
    value = 0;
  }
  out = Value(value == 0 ? 0.0 : value);  // -0 would come back as the integer 0
  return true;
}

// Reads a string; `out` points into the text, or into scratch_ until the next string is read.
bool Reader::string(std::string_view& out) {
  const char* start = ++p_;
  p_ = skip_plain(p_, end_);
  if (p_ != end_ && *p_ == '"') {
    out = std::string_view(start, static_cast<std::size_t>(p_ - start));
    ++p_;
    return true;
  }
  return string_slow(start, out);
}

bool Reader::string_slow(const char* start, std::string_view& out) {
  scratch_.clear();
  bool escaped = false;
  for (const char* run = start;;) {
    p_ = skip_plain(p_, end_);
    if (p_ == end_) return fail_at("");
    const auto c = static_cast<unsigned char>(*p_);
    if (c >= 0x80) {
      const std::size_t n = utf8_length(p_, end_);
      if (n == 0) return fail("invalid UTF-8 in string literal");
      p_ += n;
    } else if (c == '"') {
      if (!escaped) {
        out = std::string_view(start, static_cast<std::size_t>(p_ - start));
      } else {
        scratch_.append(run, p_);
        out = scratch_;
      }
      ++p_;
      return true;
    } else if (c == '\\') {
      scratch_.append(run, p_);
      escaped = true;
      ++p_;
      if (!escape(scratch_)) return false;
      run = p_;
    } else {
      return fail_at("in string literal");
    }
  }
}

bool Reader::escape(std::string& out) {
  const char c = p_ == end_ ? '\0' : *p_;
  switch (c) {
    case '"':
    case '\\':
    case '/':
      out += c;
      break;
    case 'b':
      out += '\b';
      break;
    case 'f':
      out += '\f';
      break;
    case 'n':
      out += '\n';
      break;
    case 'r':
      out += '\r';
      break;
    case 't':
      out += '\t';
      break;
    case 'u': {
      ++p_;
      std::uint32_t unit = 0;
      if (!hex4(unit)) return false;
      if (unit >= 0xD800 && unit < 0xDC00 && end_ - p_ >= 6 && p_[0] == '\\' && p_[1] == 'u') {
        const char* second = p_;
        p_ += 2;
        std::uint32_t low = 0;
        if (!hex4(low)) return false;
        if (low >= 0xDC00 && low < 0xE000) {
          unit = 0x10000 + ((unit - 0xD800) << 10U) + (low - 0xDC00);
        } else {
          p_ = second;
        }
      }
      // A surrogate on its own has no encoding: U+FFFD, as in Go.
      append_utf8(out, unit >= 0xD800 && unit < 0xE000 ? 0xFFFD : unit);
      return true;
    }
    default:
      return fail_in("in string escape code");
  }
  ++p_;
  return true;
}

bool Reader::hex4(std::uint32_t& unit) {
  unit = 0;
  for (int i = 0; i < 4; ++i, ++p_) {
    const char c = p_ == end_ ? '\0' : *p_;
    std::uint32_t digit = 0;
    if (is_digit(c)) {
      digit = static_cast<std::uint32_t>(c - '0');
    } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
      digit = static_cast<std::uint32_t>((c | 0x20) - 'a') + 10;
    } else {
      return fail_in("in \\u hexadecimal character escape");
    }
    unit = unit << 4U | digit;
  }
  return true;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  const char* p = text.data();
  const char* end = p + text.size();
  while (p != end) {
    const std::size_t n = utf8_length(p, end);
    if (n == 0) return false;
    p += n;
  }
  return true;
}

Result<Value> parse_json(std::string_view text, ParseLimits limits,
                         std::vector<std::string>* duplicate_fields) {
  if (text.size() > limits.max_bytes) {
    return Error{Code::too_large,
                 "Request entity too large: limit is " + std::to_string(limits.max_bytes)};
  }
  return Reader(text, limits, duplicate_fields).read();
}

}  // namespace skiff::api
