// The SQLite log with a disk of the caller's choice, for tests.
#pragma once

#include <memory>

#include "metered_vfs.hpp"
#include "skiff/store/log.hpp"

namespace skiff::store {

Result<std::unique_ptr<Log>> open_sqlite_log_on(Env env, SqliteOptions options,
                                                std::shared_ptr<Disk> disk);

}  // namespace skiff::store
