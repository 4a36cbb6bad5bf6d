#include <catch2/catch_test_macros.hpp>

#include "skiff/client/reconcile.hpp"
#include "support/loop.hpp"

using namespace skiff;
using client::WorkQueue;
using test::Loop;
using test::Tasks;

namespace {

using Key = api::NamespacedName;

// Takes keys, notes when, and holds each for a while.
Task<void> take(WorkQueue* queue, Loop* loop, Duration work, std::vector<std::string>* log) {
  while (const auto key = co_await queue->get()) {
    const auto ms = loop->clock.now().time_since_epoch() / 1ms;
    log->push_back(key->name + "@" + std::to_string(ms));
    if (work > Duration{}) co_await loop->clock.sleep_for(work);
    queue->done(*key);
  }
  log->push_back("end");
}

}  // namespace

TEST_CASE("a key waits once however often it is added") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  Tasks tasks(loop);
  for (const char* name : {"a", "b", "a", "a"}) queue.add({"", name});
  CHECK(queue.size() == 2);
  tasks.group.spawn("take", take(&queue, &loop, {}, &log));
  loop.run();
  CHECK(log == std::vector<std::string>{"a@0", "b@0"});
}

TEST_CASE("a key added while it is worked on comes again, never twice at once") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  Tasks tasks(loop);
  for (int i = 0; i < 3; ++i) tasks.group.spawn("take", take(&queue, &loop, 10ms, &log));
  queue.add({"", "a"});
  loop.run(5ms);
  queue.add({"", "a"});
  queue.add({"", "a"});
  loop.run(1s);
  CHECK(log == std::vector<std::string>{"a@0", "a@10"});
}

TEST_CASE("delayed keys come when due, the earliest wish wins") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  Tasks tasks(loop);
  for (int i = 0; i < 2; ++i) tasks.group.spawn("take", take(&queue, &loop, {}, &log));
  queue.add_after({"", "late"}, 1h);
  queue.add_after({"", "b"}, 200ms);
  loop.run(50ms);
  queue.add_after({"", "a"}, 50ms);  // earlier than what the sleeper waits for
  queue.add_after({"", "b"}, 1h);    // later than what was asked before
  loop.run(1s);
  CHECK(log == std::vector<std::string>{"a@100", "b@200"});
  loop.run(2h);
  CHECK(log.back() == "late@3600000");
}

TEST_CASE("a busy worker does not lose the time") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  Tasks tasks(loop);
  tasks.group.spawn("take", take(&queue, &loop, 500ms, &log));
  queue.add({"", "a"});
  queue.add_after({"", "b"}, 100ms);
  loop.run(2s);
  CHECK(log == std::vector<std::string>{"a@0", "b@500"});
}

TEST_CASE("failures back off from 5 ms to 1000 s and are forgotten on success") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  Tasks tasks(loop);
  tasks.group.spawn("take", take(&queue, &loop, {}, &log));
  const Key key{"", "a"};
  for (int i = 0; i < 4; ++i) {
    queue.add_rate_limited(key);
    loop.run(1h);
  }
  CHECK(log == std::vector<std::string>{"a@5", "a@3600010", "a@7200020", "a@10800040"});
  for (int i = 0; i < 40; ++i) queue.add_rate_limited(key);
  log.clear();
  loop.run(1000s);
  CHECK(log.size() == 1);
  queue.forget(key);
  queue.add_rate_limited(key);
  loop.run(6ms);
  CHECK(log.size() == 2);
}

TEST_CASE("shutting down drains what is ready, and ends") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  Tasks tasks(loop);
  queue.add({"", "a"});
  queue.add_after({"", "b"}, 1s);
  tasks.group.spawn("take", take(&queue, &loop, {}, &log));
  queue.shut_down();
  loop.run(1h);
  CHECK(log == std::vector<std::string>{"a@0", "end"});
}

TEST_CASE("cancelling a waiter with a delayed key ends it quietly") {
  Loop loop;
  WorkQueue queue(loop.env, "test");
  std::vector<std::string> log;
  {
    Tasks tasks(loop);
    for (int i = 0; i < 3; ++i) tasks.group.spawn("take", take(&queue, &loop, {}, &log));
    queue.add_after({"", "b"}, 1h);
    loop.run(1s);
    CHECK(tasks.group.size() == 3);
  }
  CHECK(log.empty());
}
