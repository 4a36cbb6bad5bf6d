// What the log can tell of the past, and for how long.
#include <catch2/catch_test_macros.hpp>
#include <map>

#include "machine.hpp"
#include "skiff/base/random.hpp"

namespace skiff::store::testing {
namespace {

// The log's promises against a model that keeps everything.
class Past {
 public:
  explicit Past(std::uint64_t seed) : random_(seed) {
    loop_.threads = true;
    options_.path = directory_.file();
    options_.durability = Durability::relaxed;
    options_.history_bytes = 20'000;
    options_.noted_keys = 3;
    open();
  }

  void open() {
    log_ = open_sqlite_log(loop_.env(), options_).value();
    live_.clear();
    auto each = [this](Record r) { live_[r.item->key] = r.item->modified; };
    const auto recovered = loop_.run(log_->replay(each)).value();
    CHECK(recovered.revision == next_);
    std::map<std::string, Revision> expected;
    for (const auto& [key, record] : state_at(next_)) expected[key] = record.item->modified;
    REQUIRE(live_ == expected);
  }
  void reopen(bool crash) {
    if (!crash) REQUIRE(loop_.run(log_->close()).has_value());
    log_.reset();
    open();
  }

  void append() {
    auto records = std::make_shared<std::vector<Record>>();
    for (std::uint64_t n = 1 + random_.below(30); n > 0; --n) {
      Record r;
      auto item = std::make_shared<Item>();
      item->key = (random_.below(2) != 0 ? "/a/" : "/b/") + std::to_string(random_.below(8));
      const auto it = newest_.find(item->key);
      if (it != newest_.end()) r.previous = it->second;
      r.erase = it != newest_.end() && random_.below(4) == 0;
      item->modified = ++next_;
      item->value = std::to_string(next_) + std::string(random_.below(100), 'v');
      if (r.erase) {
        newest_.erase(it);
      } else {
        newest_[item->key] = next_;
      }
      r.time = WallTime{std::chrono::seconds(next_)};
      r.author = std::make_shared<const std::string>("user-" + std::to_string(next_ % 3));
      r.item = std::move(item);
      all_[next_] = r;
      records->push_back(std::move(r));
    }
    REQUIRE(loop_.run(log_->append(records)).has_value());
  }
  void compact(Revision to) { REQUIRE(loop_.run(log_->compact(to)).has_value()); }

  void check_history(const Range& range, Revision after, Revision until, std::size_t limit) {
    INFO("history of [" << range.begin << ", " << range.end << ") in (" << after << ", " << until
                        << "], compacted " << log_->compacted());
    const Revision before = log_->compacted();  // it moves by itself
    const auto got = loop_.run(log_->history(range, after, until, limit));
    if (!got) {
      CHECK(got.error().code == Code::expired);
      REQUIRE(after < log_->compacted());
      return;
    }
    REQUIRE(after >= before);
    std::vector<Record> expected;
    for (auto it = all_.upper_bound(after); it != all_.end() && it->first <= until; ++it) {
      if (limit != 0 && expected.size() == limit) break;
      if (range.contains(it->second.item->key)) expected.push_back(it->second);
    }
    same(*got, expected);
  }
  void check_state(const Range& range, Revision at, std::size_t limit) {
    INFO("state of [" << range.begin << ", " << range.end << ") at " << at << ", compacted "
                      << log_->compacted());
    const Revision before = log_->compacted();  // it moves by itself
    const auto got = loop_.run(log_->state(range, at, limit));
    if (!got) {
      CHECK(got.error().code == Code::expired);
      REQUIRE(at < log_->compacted());
      return;
    }
    REQUIRE(at >= before);
    std::vector<Record> expected;
    for (const auto& [key, record] : state_at(at)) {
      if (limit != 0 && expected.size() == limit) break;
      if (range.contains(key)) expected.push_back(record);
    }
    same(*got, expected);
  }

  // In pages, as far as it is not compacted in between.
  void check_pages(const Range& range, Revision at, std::size_t limit) {
    const auto reader = log_->read_state(range, at);
    std::vector<Record> got;
    for (bool more = true; more;) {
      auto page = loop_.run(reader->next(limit));
      if (!page) {
        REQUIRE(at < log_->compacted());
        return;
      }
      more = page->size() == limit;
      std::move(page->begin(), page->end(), std::back_inserter(got));
      append();
    }
    std::vector<Record> expected;
    for (const auto& [key, record] : state_at(at)) {
      if (range.contains(key)) expected.push_back(record);
    }
    same(got, expected);
  }
  void check_superseded(Revision after) {
    auto records = loop_.run(log_->history(Range(), after, next_, 0));
    if (!records) return;
    std::map<Revision, Record> expected;
    for (const Record& record : *records) {
      if (record.previous != 0) expected[record.previous] = all_.at(record.previous);
    }
    const auto found = loop_.run(log_->superseded_by(std::move(*records))).value();
    std::map<Revision, Record> got;
    for (const Record& record : found) got[record.item->modified] = record;
    if (after < log_->compacted()) return;
    REQUIRE(got.size() == expected.size());
    for (const auto& [revision, record] : expected) {
      CHECK(got.at(revision).item->value == record.item->value);
    }
  }

  SeededRandom& random() { return random_; }
  Revision newest() const { return next_; }
  Revision compacted() const { return log_->compacted(); }
  void close() { REQUIRE(loop_.run(log_->close()).has_value()); }

 private:
  static void same(const std::vector<Record>& got, const std::vector<Record>& expected) {
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i].item->modified == expected[i].item->modified);
      CHECK(got[i].item->key == expected[i].item->key);
      CHECK(got[i].item->value == expected[i].item->value);
      CHECK(got[i].previous == expected[i].previous);
      CHECK(got[i].erase == expected[i].erase);
      CHECK(got[i].time == expected[i].time);
      CHECK(*got[i].author == *expected[i].author);
    }
  }
  std::map<std::string, Record> state_at(Revision at) const {
    std::map<std::string, Record> state;
    for (const auto& [revision, record] : all_) {
      if (revision > at) break;
      if (record.erase) {
        state.erase(record.item->key);
      } else {
        state[record.item->key] = record;
      }
    }
    return state;
  }

  Directory directory_;
  Loop loop_;
  SeededRandom random_;
  SqliteOptions options_;
  std::unique_ptr<Log> log_;
  std::map<Revision, Record> all_;
  std::map<std::string, Revision> newest_;
  std::map<std::string, Revision> live_;
  Revision next_ = 0;
};

}  // namespace

TEST_CASE("the past is told as it was, until it is compacted") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    INFO("seed " << seed);
    Past past(seed);
    SeededRandom& random = past.random();
    const Range ranges[] = {
        Range::prefix(""), Range::prefix("/a/"), Range::key("/b/3"), {"/a/5", "/b/2"}};
    for (int step = 0; step < 120; ++step) {
      past.append();
      const auto back = static_cast<Revision>(random.below(600));
      const Revision at = std::max<Revision>(past.newest() - back, 0);
      const Range& range = ranges[random.below(4)];
      const std::size_t limit = random.below(3) == 0 ? 3 : 0;
      past.check_state(range, at, limit);
      past.check_history(range, at, at + static_cast<Revision>(random.below(200)), limit);
      if (step % 4 == 0) past.check_pages(range, at, 1 + random.below(6));
      if (step % 4 == 1) past.check_superseded(at);
      if (random.below(30) == 0) past.compact(past.newest() - 100);
      if (random.below(20) == 0) past.reopen(random.below(2) == 0);
    }
    CHECK(past.compacted() > 0);
    past.close();
  }
}

TEST_CASE("history is kept for as long and as much as was asked") {
  Directory directory;
  Machine machine(directory.file());
  machine.options.history = std::chrono::hours(2);
  machine.options.history_bytes = 0;
  machine.store_options.history = Duration::zero();
  machine.store_options.history_bytes = 0;
  REQUIRE(machine.start().has_value());
  const auto write = [&](int n) {
    for (int i = 0; i < n; ++i)
      REQUIRE(machine.commit(put("/a", std::string(400, 'x'))).has_value());
  };
  SECTION("hours") {
    write(600);
    machine.stop();  // ends what is under way
    REQUIRE(machine.start().has_value());
    write(1);
    CHECK(machine.log->compacted() == 0);
    machine.loop.clock.jump_wall(std::chrono::hours(3));
    write(600);
    machine.stop();
    REQUIRE(machine.start().has_value());
    CHECK(machine.log->compacted() > 500);
    CHECK(machine.log->compacted() <= 1202);
    CHECK(machine.loop.run(machine.log->history(Range::key("/a"), 10, 20, 0)).error().code ==
          Code::expired);
  }
  SECTION("bytes") {
    machine.stop();
    machine.options.history = Duration::zero();
    machine.options.history_bytes = 100'000;
    REQUIRE(machine.start().has_value());
    write(1500);
    machine.stop();
    REQUIRE(machine.start().has_value());
    CHECK(machine.log->compacted() > 700);
    const Revision newest = machine.store->revision();
    CHECK(machine.loop.run(machine.log->state(Range::key("/a"), newest - 50, 0)).value().size() ==
          1);
  }
  machine.stop();
}

// More keys than are noted at once.
TEST_CASE("a large state is read in pages while it changes") {
  constexpr int kKeys = 30'000;
  Directory directory;
  Machine machine(directory.file());
  machine.options.durability = Durability::relaxed;
  machine.options.history_bytes = 1U << 20U;
  machine.options.noted_keys = 2000;
  REQUIRE(machine.start().has_value());
  const auto write = [&](int from, int to, const std::string& value) {
    std::vector<Op> some;
    for (int i = from; i < to; ++i) {
      const std::string key = std::to_string(1'000'000 + i);
      some.push_back(i % 7 == 3 && value != "first" ? erase(key) : put(key, value));
    }
    for (const auto& verdict : machine.loop.run(machine.store->commit(std::move(some)))) {
      REQUIRE((verdict || verdict.error().code == Code::not_found));
    }
  };
  for (int i = 0; i < kKeys; i += 1000) write(i, i + 1000, "first");
  write(20'000, 22'000, "second");
  const Revision at = machine.store->revision();
  auto reader = machine.log->read_state(Range(), at);
  int expected = 0;
  int pages = 0;
  for (bool more = true; more; ++pages) {
    const auto page = machine.loop.run(reader->next(1000));
    REQUIRE(page.has_value());
    more = page->size() == 1000;
    for (const Record& record : *page) {
      const bool changed = expected >= 20'000 && expected < 22'000;
      if (changed && expected % 7 == 3) ++expected;
      CHECK(record.item->key == std::to_string(1'000'000 + expected));
      CHECK(record.item->value == (changed ? "second" : "first"));
      ++expected;
    }
    // All of it is superseded, and more of that than is to be kept.
    if (pages < 15) write(pages * 2000, (pages + 1) * 2000, std::string(200, 'x'));
  }
  CHECK(expected == kKeys);
  CHECK(pages == 30);
  CHECK(machine.log->compacted() <= at);
  reader.reset();
  for (int i = 0; i < kKeys; i += 1000) write(i, i + 1000, std::string(200, 'y'));
  machine.stop();
  REQUIRE(machine.start().has_value());
  CHECK(machine.log->compacted() > at);
  machine.stop();
}

TEST_CASE("values of covered keys are sealed in the file") {
  Directory directory;
  Machine machine(directory.file());
  machine.options.sealer = std::make_shared<ToySealer>('k');
  REQUIRE(machine.start().has_value());
  REQUIRE(machine.commit(put("/secrets/a", "hidden words")).has_value());
  REQUIRE(machine.commit(put("/pods/a", "plain words")).has_value());
  REQUIRE(machine.commit(put("/secrets/a", "hidden words again")).has_value());
  machine.stop();
  const std::string bytes = slurp(machine.options.path);
  CHECK(has(bytes, "plain words"));
  CHECK_FALSE(has(bytes, "hidden words"));
  SECTION("and opened") {
    REQUIRE(machine.start().has_value());
    CHECK(machine.store->get("/secrets/a").value()->value == "hidden words again");
    const auto past = machine.loop.run(machine.log->history(Range::key("/secrets/a"), 0, 9, 0));
    CHECK(past.value().at(0).item->value == "hidden words");
    machine.stop();
  }
  SECTION("without the key") {
    machine.options.sealer = nullptr;
    CHECK(has(message_of(machine.start()), "no key was given"));
  }
  SECTION("with another key") {
    machine.options.sealer = std::make_shared<ToySealer>('w');
    const std::string message = message_of(machine.start());
    CHECK(has(message, "/secrets/a"));
    CHECK(has(message, "no key opens it"));
  }
}

TEST_CASE("bytes are counted by what they are") {
  Directory directory;
  Machine machine(directory.file());
  REQUIRE(machine.start().has_value());
  REQUIRE(machine.commit(put("/core/pods/ns/a", std::string(1000, 'x'))).has_value());
  for (int i = 0; i < 100; ++i) {
    REQUIRE(machine.commit(put("/kind" + std::to_string(i) + "/x/y", "1")).has_value());
  }
  machine.loop.clock.run_for(machine.loop.io(), std::chrono::hours(12));
  const std::string text = machine.loop.metrics.render();
  const WriteSummary summary = summarize_writes(text, machine.loop.clock.wall());
  CHECK(summary.bytes == machine.disk->bytes_written);
  CHECK(summary.per_day == summary.bytes * 2);
  REQUIRE_FALSE(summary.records.empty());
  CHECK(summary.records[0].first == "core/pods");
  CHECK(summary.records[0].second >= 1000);
  CHECK(summary.records.size() <= 66);
  CHECK(summarize_writes("", machine.loop.clock.wall()).records.empty());
  machine.stop();
}

}  // namespace skiff::store::testing
