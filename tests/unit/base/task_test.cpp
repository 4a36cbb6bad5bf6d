#include <catch2/catch_test_macros.hpp>

#include "skiff/base/clock.hpp"
#include "skiff/base/task.hpp"

using namespace skiff;

TEST_CASE("sleepers wake in order under virtual time") {
  asio::io_context io;
  VirtualClock clock;
  TaskGroup group(io.get_executor());
  std::string order;
  auto sleeper = [&](Duration d, char c) -> Task<void> {
    co_await clock.sleep_for(d);
    order += c;
  };
  group.spawn("b", sleeper(2s, 'b'));
  group.spawn("a", sleeper(1s, 'a'));
  group.spawn("c", sleeper(1h, 'c'));
  clock.run_for(io, 10s);
  CHECK(order == "ab");
  CHECK(group.size() == 1);
  clock.run_for(io, 2h);
  CHECK(order == "abc");
  CHECK(group.size() == 0);
}

TEST_CASE("cancel stops sleepers and join waits for them") {
  asio::io_context io;
  VirtualClock clock;
  TaskGroup group(io.get_executor());
  TaskGroup outer(io.get_executor());
  bool joined = false;
  auto sleeper = [&]() -> Task<void> { co_await clock.sleep_for(1h); };
  auto joiner = [&]() -> Task<void> {
    co_await group.join();
    joined = true;
  };
  group.spawn("one", sleeper());
  group.spawn("two", sleeper());
  outer.spawn("join", joiner());
  clock.run_for(io, 1s);
  CHECK_FALSE(joined);
  group.cancel();
  clock.run_for(io, 1s);
  CHECK(joined);
}

TEST_CASE("a channel is bounded, ordered, and drains after close") {
  asio::io_context io;
  TaskGroup group(io.get_executor());
  Channel<int> channel(io.get_executor(), 2);
  std::vector<int> seen;
  bool refused = false;
  auto producer = [&]() -> Task<void> {
    for (int i = 0; i < 5; ++i) co_await channel.push(i);
    channel.close();
    refused = !co_await channel.push(9);
  };
  auto consumer = [&]() -> Task<void> {
    while (auto value = co_await channel.pop()) seen.push_back(*value);
  };
  group.spawn("producer", producer());
  io.poll();
  CHECK(channel.size() == 2);
  group.spawn("consumer", consumer());
  io.restart();
  io.run();
  CHECK(seen == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(refused);
}

TEST_CASE("with_timeout gives up, and passes results through") {
  asio::io_context io;
  VirtualClock clock;
  TaskGroup group(io.get_executor());
  auto slow = [&](Duration d) -> Task<Result<int>> {
    co_await clock.sleep_for(d);
    co_return 7;
  };
  std::vector<Result<int>> results;
  auto run = [&](Duration d) -> Task<void> {
    results.push_back(co_await with_timeout<int>(clock, 5s, "slow", slow(d)));
  };
  group.spawn("late", run(1min));
  group.spawn("early", run(1s));
  clock.run_for(io, 2min);
  REQUIRE(results.size() == 2);
  CHECK(results[0].value() == 7);
  CHECK(results[1].error().code == Code::timeout);
}

TEST_CASE("of two tasks the first to end wins, and the other has ended too") {
  asio::io_context io;
  VirtualClock clock;
  TaskGroup group(io.get_executor());
  std::vector<std::string> said;
  // Says how it came to its end; cleaning up must be over when race() returns.
  auto sleep = [&](std::string name, Duration d) -> Task<void> {
    bool whole = false;
    try {
      co_await clock.sleep_for(d);
      whole = true;
    } catch (const boost::system::system_error&) {
      said.push_back(name + " cancelled");
    }
    if (!whole) throw boost::system::system_error(asio::error::operation_aborted);
    said.push_back(name + " ended");
  };
  auto value = [&](Duration d) -> Task<int> {
    co_await clock.sleep_for(d);
    co_return 7;
  };
  auto run = [&](Duration one, Duration other) -> Task<void> {
    Task<void> first = sleep("one", one);
    Task<void> second = sleep("other", other);
    co_await race(std::move(first), std::move(second));
    said.emplace_back("over");
    Task<int> seven = value(one);
    Task<void> limit = sleep("limit", other);
    const auto got = co_await race_for(std::move(seven), std::move(limit));
    said.push_back(got ? std::to_string(*got) : "nothing");
  };
  SECTION("the first") {
    group.spawn("run", run(1s, 2s));
    CHECK(group.names() == std::vector<std::string>{"run"});
    clock.run_for(io, 1min);
    CHECK(said ==
          std::vector<std::string>{"one ended", "other cancelled", "over", "limit cancelled", "7"});
  }
  SECTION("the second") {
    group.spawn("run", run(2s, 1s));
    clock.run_for(io, 1min);
    CHECK(said == std::vector<std::string>{"other ended", "one cancelled", "over", "limit ended",
                                           "nothing"});
  }
  SECTION("neither: the caller is cancelled") {
    group.spawn("run", run(2s, 2s));
    clock.run_for(io, 1s);
    group.cancel();  // an exception of another kind would end the process
    clock.run_for(io, 1s);
    CHECK(said == std::vector<std::string>{"one cancelled", "other cancelled"});
  }
  CHECK(group.names().empty());
}

TEST_CASE("blocking work returns to the caller's executor") {
  asio::io_context io;
  BlockingPool pool(2);
  TaskGroup group(io.get_executor());
  std::thread::id inside;
  std::thread::id after;
  auto run = [&]() -> Task<void> {
    inside = co_await pool.run([] { return std::this_thread::get_id(); });
    after = std::this_thread::get_id();
  };
  group.spawn("run", run());
  io.run();
  CHECK(after == std::this_thread::get_id());
  CHECK(inside != after);
}

TEST_CASE("a pool works while something waits for its time, and joins what waits") {
  std::vector<std::string> done;
  {
    BlockingPool pool(1);
    pool.post_after(20ms, [&] { done.push_back("later"); });
    pool.post([&] { done.push_back("now"); });
  }
  CHECK(done == std::vector<std::string>{"now", "later"});
  BlockingPool none(0);
  none.post_after(1h, [&] { done.push_back("at once"); });
  CHECK(done.back() == "at once");
}

TEST_CASE("a cancelled caller gets what the pool did for it, then stops") {
  asio::io_context io;
  BlockingPool pool(2);
  TaskGroup group(io.get_executor());
  std::atomic<bool> begun = false;
  bool handed_over = false, went_on = false;
  auto caller = [&]() -> Task<void> {
    auto work = [&] {
      begun = true;
      std::this_thread::sleep_for(20ms);
      return 7;
    };
    handed_over = co_await pool.run(std::move(work)) == 7;
    co_await yield();
    went_on = true;
  };
  auto thrower = [&]() -> Task<void> {
    auto work = []() -> int { throw std::runtime_error("no"); };
    bool caught = false;
    try {
      co_await pool.run(std::move(work));
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught);
  };
  group.spawn("thrower", thrower());
  group.spawn("caller", caller());
  while (!begun) io.poll_one();
  group.cancel();
  io.run();
  CHECK(handed_over);
  CHECK_FALSE(went_on);
  CHECK(group.size() == 0);
}
