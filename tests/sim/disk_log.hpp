// A store::Log on a simulated disk, with what a crash leaves of it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host.hpp"
#include "skiff/store/log.hpp"

namespace skiff::sim {

// What the log's file says.
struct LogState {
  std::map<store::Revision, store::Record> records;  // retained, by revision
  store::Revision compacted = 0;
  store::Revision ceiling = 0;  // no volatile record above this was acknowledged
  bool clean = true;            // closed in order: nothing volatile was lost

  void put(const store::Record& record);
  void compact(store::Revision revision);
  std::map<std::string, const store::Record*> newest(const store::Range& range,
                                                     store::Revision at) const;
};

// One write to it.
struct LogWrite {
  store::Records records;                    // null: none
  std::optional<store::Recovered> replaced;  // with `records`: all there is
  store::Revision compact = 0;
  store::Revision ceiling = 0;
  std::optional<bool> clean;
};

// The file on the host's disk: it outlives the log. A crash keeps what was synced and of the rest a
// prefix.
struct LogFile {
  LogState stable;
  std::deque<LogWrite> cache;    // written, not synced
  std::optional<LogWrite> torn;  // an append that failed but may be there all the same
  // Told of records that will be there after a crash though nobody was told so before.
  std::function<void(const store::Record&)> survived;

  void crash(World& world, Dice& dice, int host);
};
void apply(LogState& state, const LogWrite& write);

struct DiskLogOptions {
  bool durable = true;  // false: synced only by sync(), as Durability::relaxed
  // Called with what is appended, before it is written: for logs that only hold what is decided.
  std::function<void(const std::vector<store::Record>&)> appended;
};
std::unique_ptr<store::Log> make_disk_log(Disk& disk, LogFile& file, LifePtr life,
                                          DiskLogOptions options);

}  // namespace skiff::sim
