// An etcd of one process on loopback that fails on demand: enough of the v3 gateway for the log and
// the election. Compaction forgets nothing but says that it did.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "skiff/api/value.hpp"
#include "skiff/http/server.hpp"
#include "support/etcd_log.hpp"

namespace skiff::etcd::test {

class FakeEtcd final : public http::Handler {
 public:
  // What becomes of the next transactions, in order; afterwards all is well.
  struct Fault {
    bool happens = true;    // it is done
    bool answered = false;  // and the answer arrives, or `status` with `body` does
    int status = 200;
    std::string body;
    std::function<void()> meanwhile;  // before anything else is heard
  };

  explicit FakeEtcd(Loop& loop);
  Task<void> stop();
  std::string url() const;

  Task<void> handle(http::Request request, http::Exchange& exchange) override;

  // As another client would.
  void put(const std::string& key, const std::string& value);
  void erase(const std::string& key);
  void compact(store::Revision at) { compacted_ = at; }
  void break_watches();
  void wipe();

  std::string value(const std::string& key) const;
  store::Revision revision() const { return revision_; }

  std::deque<Fault> faults;          // of transactions
  std::map<std::string, int> asked;  // requests by path
  std::string cluster = "7";
  bool down = false;  // every connection breaks

 private:
  struct Entry {
    std::string value;
    store::Revision created = 0;
    store::Revision modified = 0;
  };
  struct Event {
    std::string key;
    Entry entry;
    bool erase = false;
  };

  void change(const std::string& key, const std::string* value, store::Revision at);
  api::Value header() const;
  api::Value range(const api::Value& request) const;
  api::Value transact(const api::Value& request);
  api::Value lease(const std::string& path);
  Task<void> watch(api::Value request, http::Exchange& exchange);
  static http::Response answer(int status, std::string text);

  Loop& loop_;
  http::Server server_;
  std::map<std::string, Entry> entries_;
  std::vector<Event> events_;
  store::Revision revision_ = 1;
  store::Revision compacted_ = 0;
  std::int64_t leases_ = 0;
  int generation_ = 0;  // of watches: those of an older one end
  Signal changed_;
};

}  // namespace skiff::etcd::test
