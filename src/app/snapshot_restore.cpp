// A database made of records: what a restore and a fork begin with.
#include <algorithm>
#include <filesystem>

#include "snapshot.hpp"

namespace skiff::app {
namespace {

namespace fs = std::filesystem;
using store::Record;

Task<Result<void>> fill(store::Log* log, std::vector<Record> records, store::Revision at) {
  std::function<void(Record)> nothing = [](const Record&) {};
  SKIFF_CO_TRY([[maybe_unused]] const store::Recovered empty, co_await log->replay(nothing));
  for (Record& r : records) r.previous = 0;  // what it superseded did not come along
  store::Recovered recovered;
  recovered.revision = recovered.compacted = recovered.resumable = at;
  SKIFF_CO_CHECK(co_await log->replace(recovered, std::move(records)));
  co_return co_await log->sync();
}

}  // namespace

Task<Result<void>> build_database(Env env, store::SqliteOptions options,
                                  std::vector<Record> records, store::Revision above) {
  for (const Record& r : records) above = std::max(above, r.item->modified);
  SKIFF_CO_TRY(auto log, store::open_sqlite_log(env, std::move(options)));
  const Result<void> filled = co_await fill(log.get(), std::move(records), above + 1);
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
