#include "log_splitter.hpp"

#include <ctime>

namespace skiff::runtime::shim {
namespace {

void two_digits(char* at, int value) {
  at[0] = static_cast<char>('0' + value / 10);
  at[1] = static_cast<char>('0' + value % 10);
}

}  // namespace

void append_log_time(std::string& out, std::int64_t unix_nanoseconds) {
  constexpr std::int64_t billion = 1'000'000'000;
  std::time_t seconds = unix_nanoseconds / billion;
  std::int64_t fraction = unix_nanoseconds % billion;
  std::tm tm{};
  ::gmtime_r(&seconds, &tm);
  char text[] = "0000-00-00T00:00:00.000000000Z";
  int year = tm.tm_year + 1900;
  two_digits(text, year / 100);
  two_digits(text + 2, year % 100);
  two_digits(text + 5, tm.tm_mon + 1);
  two_digits(text + 8, tm.tm_mday);
  two_digits(text + 11, tm.tm_hour);
  two_digits(text + 14, tm.tm_min);
  two_digits(text + 17, tm.tm_sec);
  for (int i = 28; i >= 20; --i, fraction /= 10) text[i] = static_cast<char>('0' + fraction % 10);
  out.append(text, sizeof text - 1);
}

void LogSplitter::emit(std::string_view content, char tag, std::int64_t now, std::string& out) {
  append_log_time(out, now);
  out.push_back(' ');
  out.append(stream_);
  out.push_back(' ');
  out.push_back(tag);
  out.push_back(' ');
  out.append(content);
  out.push_back('\n');
}

void LogSplitter::feed(std::string_view data, std::int64_t now, std::string& out) {
  while (!data.empty()) {
    auto newline = data.find('\n');
    std::string_view head = data.substr(0, newline);
    // A line that just fits, newline excluded, is whole.
    if (pending_.size() + head.size() > max_line) {
      std::size_t take = max_line - pending_.size();
      if (pending_.empty()) {
        emit(data.substr(0, take), 'P', now, out);
      } else {
        pending_.append(data.substr(0, take));
        emit(pending_, 'P', now, out);
        pending_.clear();
      }
      data.remove_prefix(take);
      continue;
    }
    if (newline == std::string_view::npos) {
      pending_.append(head);
      return;
    }
    if (pending_.empty()) {
      emit(head, 'F', now, out);
    } else {
      pending_.append(head);
      emit(pending_, 'F', now, out);
      pending_.clear();
    }
    data.remove_prefix(newline + 1);
  }
}

void LogSplitter::finish(std::int64_t now, std::string& out) {
  if (pending_.empty()) return;
  emit(pending_, 'P', now, out);
  std::string().swap(pending_);
}

}  // namespace skiff::runtime::shim
