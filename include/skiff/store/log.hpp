// The Log: what makes commits durable. The store is the only caller; bodies are memory, SQLite and Raft.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"

namespace skiff::store {

using Revision = std::int64_t;

// One accepted Op as the log keeps it.
struct Record {
  Revision revision = 0;
  std::string key;
  std::string value;  // final bytes, revision written in
  bool erase = false;
  Revision created = 0;
  std::vector<std::pair<std::string, std::string>> attributes;
  bool is_volatile = false;
};

class Log {
 public:
  virtual ~Log() = default;

  struct Recovered {
    Revision revision = 0;   // newest
    Revision compacted = 0;  // versions superseded at or before this are gone
  };
  // Calls `each` for every retained record in revision order, then reports where the log stands. Called
  // once, before append. The record may be moved from.
  virtual Task<Result<Recovered>> replay(std::function<void(Record&&)> each) = 0;

  // Makes the records durable, in order, together; resolves when they are. Volatile records may be written later
  // and are dropped when superseded. Appends are not reordered; the caller may have several under way.
  virtual Task<Result<void>> append(std::vector<std::shared_ptr<const Record>> records) = 0;

  // Records superseded at or before `revision` may be dropped from disk, in small steps.
  virtual Task<Result<void>> compact(Revision revision) = 0;

  virtual Task<Result<void>> close() = 0;
};

// Nothing survives.
std::unique_ptr<Log> make_memory_log();

enum class Durability : std::uint8_t {
  full,     // fsync before an append resolves
  relaxed,  // the operating system decides when: a power cut may lose the last seconds
};

struct SqliteOptions {
  std::string path;  // the database file; its directory must exist
  Durability durability = Durability::full;
  Duration volatile_interval = std::chrono::minutes(10);  // how often volatile records are written
};

// A SQLite database in WAL mode with its own thread; appends that are waiting share one fsync. Opening checks
// that nobody else holds the file, that its format is known and that it is whole; every error says what to do.
Result<std::unique_ptr<Log>> open_sqlite_log(Env env, SqliteOptions options);

}  // namespace skiff::store
