// A database made of records: what a restore and a fork begin with.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "snapshot.hpp"

namespace skiff::app {
namespace {

namespace fs = std::filesystem;
using store::Record;

constexpr std::size_t kBatch = 1000;
constexpr std::string_view kMarker = "/skiff/restored";

// A log writes down what it forgot when enough was appended since the last time: the marker is
// written so often.
constexpr store::Revision kMarks = 600;

Record marker(store::Revision at, store::Revision previous, WallTime now) {
  auto item = std::make_shared<store::Item>();
  item->key = std::string(kMarker);
  item->value = "{}";
  item->created = previous == 0 ? at : previous;
  item->modified = at;
  Record r;
  r.item = std::move(item);
  r.previous = previous;
  r.time = now;
  return r;
}

// The numbering's way past everything any client can have seen: a key that comes, stays for a while
// and goes.
void add_jump(std::vector<Record>& out, store::Revision above, WallTime now) {
  for (store::Revision i = 1; i <= kMarks; ++i) {
    out.push_back(marker(above + i, i == 1 ? 0 : above + i - 1, now));
  }
  out.back().erase = true;
}

Task<Result<void>> append_all(store::Log* log, std::vector<Record> records) {
  for (std::size_t at = 0; at < records.size(); at += kBatch) {
    const auto first = records.begin() + static_cast<std::ptrdiff_t>(at);
    const auto last = first + static_cast<std::ptrdiff_t>(std::min(kBatch, records.size() - at));
    auto batch = std::make_shared<const std::vector<Record>>(first, last);
    SKIFF_CO_CHECK(co_await log->append(std::move(batch)));
  }
  co_return Result<void>();
}

Task<Result<void>> fill(store::Log* log, std::vector<Record> records, store::Revision above,
                        WallTime now) {
  std::function<void(Record)> nothing = [](const Record&) {};
  SKIFF_CO_TRY([[maybe_unused]] const store::Recovered empty, co_await log->replay(nothing));
  std::sort(records.begin(), records.end(),
            [](const Record& a, const Record& b) { return a.item->modified < b.item->modified; });
  for (Record& r : records) r.previous = 0;  // what it superseded did not come along
  add_jump(records, above, now);
  // Forgotten before it is written, so that whatever round of compaction comes writes it down.
  SKIFF_CO_CHECK(co_await log->compact(above + kMarks));
  SKIFF_CO_CHECK(co_await append_all(log, std::move(records)));
  SKIFF_CO_CHECK(co_await log->compact(above + kMarks));
  co_return co_await log->sync();
}

}  // namespace

Task<Result<void>> build_database(Env env, store::SqliteOptions options,
                                  std::vector<Record> records, store::Revision above) {
  for (const Record& r : records) above = std::max(above, r.item->modified);
  SKIFF_CO_TRY(auto log, store::open_sqlite_log(env, std::move(options)));
  const Result<void> filled =
      co_await fill(log.get(), std::move(records), above, env.clock->wall());
  const Result<void> closed = co_await log->close();
  if (!filled) co_return filled;
  co_return closed;
}

Result<std::string> set_aside(const std::string& database, WallTime now) {
  std::string suffix = ".replaced-" + format_time(now);
  std::erase(suffix, ':');
  std::error_code ec;
  // The database goes last: as long as it stands, everything that belongs to it is found again.
  for (const char* part : {"-mark", "-shm", "-wal", ""}) {
    const std::string from = database + part;
    if (!fs::exists(from, ec)) continue;
    fs::rename(from, database + suffix + part, ec);
    if (ec) return errno_error(ec.value(), "cannot move " + from + " aside");
  }
  return database + suffix;
}

}  // namespace skiff::app
