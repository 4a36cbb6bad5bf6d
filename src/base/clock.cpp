#include "skiff/base/clock.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <charconv>

namespace skiff {

TimePoint RealClock::now() const noexcept { return std::chrono::steady_clock::now(); }

WallTime RealClock::wall() const noexcept {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

Task<void> RealClock::sleep_until(TimePoint when) {
  asio::steady_timer timer(co_await asio::this_coro::executor, when);
  co_await timer.async_wait(asio::use_awaitable);
}

VirtualClock::VirtualClock(WallTime start) : start_(start) {}

WallTime VirtualClock::wall() const noexcept {
  return start_ +
         std::chrono::duration_cast<std::chrono::microseconds>(now_.time_since_epoch() + skew_);
}

Task<void> VirtualClock::sleep_until(TimePoint when) {
  asio::steady_timer timer(co_await asio::this_coro::executor,
                           asio::steady_timer::time_point::max());
  const auto key = std::pair(when, next_++);
  sleepers_.emplace(key, &timer);
  struct Guard {
    VirtualClock* clock;
    std::pair<TimePoint, std::uint64_t> key;
    ~Guard() { clock->sleepers_.erase(key); }
  } const guard{this, key};
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    throw boost::system::system_error(asio::error::operation_aborted);
  }
}

bool VirtualClock::advance_to_next() {
  if (sleepers_.empty()) return false;
  const auto first = sleepers_.begin();
  now_ = std::max(now_, first->first.first);
  asio::steady_timer* timer = first->second;
  sleepers_.erase(first);
  timer->cancel();
  return true;
}

void VirtualClock::run_until(asio::io_context& io, TimePoint end) {
  for (;;) {
    io.restart();
    while (io.poll() > 0) {
    }
    if (sleepers_.empty() || sleepers_.begin()->first.first > end) break;
    advance_to_next();
  }
  now_ = std::max(now_, end);
}

namespace {

std::string format(WallTime t, bool micros) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day date(day);
  const auto in_day = t - day;
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(in_day));
  char buffer[64];
  int n = std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02uT%02d:%02d:%02d",
                        static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                        static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()),
                        static_cast<int>(clock.minutes().count()),
                        static_cast<int>(clock.seconds().count()));
  if (micros) {
    const auto us = (in_day % std::chrono::seconds(1)).count();
    n += std::snprintf(buffer + n, sizeof buffer - static_cast<std::size_t>(n), ".%06d",
                       static_cast<int>(us));
  }
  return std::string(buffer, static_cast<std::size_t>(n)) + "Z";
}

// Reads exactly `digits` digits at `pos` and moves on.
bool read_number(std::string_view text, std::size_t& pos, std::size_t digits, int& out) {
  if (pos + digits > text.size()) return false;
  const char* first = text.data() + pos;
  for (std::size_t i = 0; i < digits; ++i) {
    if (first[i] < '0' || first[i] > '9') return false;
  }
  std::from_chars(first, first + digits, out);
  pos += digits;
  return true;
}

bool read_char(std::string_view text, std::size_t& pos, char c) {
  if (pos >= text.size() || text[pos] != c) return false;
  ++pos;
  return true;
}

// The fraction after the point, in microseconds; further digits are dropped.
bool read_fraction(std::string_view text, std::size_t& pos, int& micros) {
  micros = 0;
  if (pos >= text.size() || text[pos] != '.') return true;
  ++pos;
  int scale = 100'000;
  const std::size_t start = pos;
  for (; pos < text.size() && text[pos] >= '0' && text[pos] <= '9'; ++pos, scale /= 10) {
    micros += (text[pos] - '0') * scale;
  }
  return pos > start;
}

// "Z" or "+hh:mm", as seconds east of UTC.
bool read_offset(std::string_view text, std::size_t& pos, int& seconds) {
  seconds = 0;
  if (pos >= text.size()) return false;
  const char sign = text[pos++];
  if (sign == 'Z') return true;
  int hours = 0;
  int minutes = 0;
  if ((sign != '+' && sign != '-') || !read_number(text, pos, 2, hours) ||
      !read_char(text, pos, ':') || !read_number(text, pos, 2, minutes) || hours > 23 ||
      minutes > 59) {
    return false;
  }
  seconds = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
  return true;
}

}  // namespace

std::string format_time(WallTime t) { return format(t, false); }
std::string format_micro_time(WallTime t) { return format(t, true); }

Result<WallTime> parse_time(std::string_view text) {
  std::size_t pos = 0;
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0, micros = 0, offset = 0;
  const bool shaped =
      read_number(text, pos, 4, y) && read_char(text, pos, '-') && read_number(text, pos, 2, mo) &&
      read_char(text, pos, '-') && read_number(text, pos, 2, d) && read_char(text, pos, 'T') &&
      read_number(text, pos, 2, h) && read_char(text, pos, ':') && read_number(text, pos, 2, mi) &&
      read_char(text, pos, ':') && read_number(text, pos, 2, s) &&
      read_fraction(text, pos, micros) && read_offset(text, pos, offset) && pos == text.size();
  const std::chrono::year_month_day date{std::chrono::year(y),
                                         std::chrono::month(static_cast<unsigned>(mo)),
                                         std::chrono::day(static_cast<unsigned>(d))};
  if (!shaped || !date.ok() || h > 23 || mi > 59 || s > 59) {
    return Error{Code::bad_request, "not an RFC 3339 time: \"" + std::string(text) + "\""};
  }
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(h) + std::chrono::minutes(mi) +
         std::chrono::seconds(s - offset) + std::chrono::microseconds(micros);
}

}  // namespace skiff
