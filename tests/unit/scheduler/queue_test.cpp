#include <catch2/catch_test_macros.hpp>

#include "made.hpp"
#include "queue.hpp"
#include "support/loop.hpp"

using namespace skiff;
using namespace skiff::scheduler;
using made::pod;
using skiff::test::Loop;

namespace {

struct Fixture {
  Loop loop;
  Queue queue{loop.env};

  std::string pop(std::size_t limit = 100) {
    std::string out;
    for (const PodInfoPtr& p : queue.pop(limit)) out += (out.empty() ? "" : " ") + p->key.name;
    return out;
  }
  void fail(const std::string& name, bool retry = false) { queue.failed("uid-" + name, retry); }
};

}  // namespace

TEST_CASE("pods leave the queue by priority, then by arrival") {
  Fixture f;
  f.queue.set(pod("a"));
  f.queue.set(pod("b", "{priority: 10}"));
  f.queue.set(pod("c"));
  f.queue.set(pod("d", "{priority: 10}"));
  CHECK(f.pop(3) == "b d a");
  CHECK(f.pop() == "c");
  CHECK(f.pop().empty());
}

TEST_CASE("an unschedulable pod waits for the cluster to change, and for its back-off") {
  Fixture f;
  f.queue.set(pod("a"));
  CHECK(f.pop() == "a");
  f.fail("a");
  f.loop.run(1h);
  CHECK(f.pop().empty());
  f.queue.wake_all();
  CHECK(f.pop() == "a");  // the back-off is long over

  // 2 s, 4 s, 8 s, then 10 s each.
  for (const int seconds : {2, 4, 8, 10, 10}) {
    f.fail("a");
    f.queue.wake_all();
    f.loop.run(std::chrono::milliseconds(seconds * 1000 - 1));
    CHECK(f.pop().empty());
    f.loop.run(1ms);
    CHECK(f.pop() == "a");
  }
}

TEST_CASE("a passing fault needs only the back-off") {
  Fixture f;
  f.queue.set(pod("a"));
  f.pop();
  f.fail("a", true);
  CHECK(f.pop().empty());
  f.loop.run(1s);
  CHECK(f.pop() == "a");
}

TEST_CASE("a change while a pod is in flight is not lost") {
  Fixture f;
  f.queue.set(pod("a"));
  f.pop();
  SECTION("of the cluster") { f.queue.wake_all(); }
  SECTION("of the pod") { f.queue.set(pod("a", "{}", "{new: label}")); }
  f.fail("a");
  f.loop.run(1s);
  CHECK(f.pop() == "a");
}

TEST_CASE("only a change that matters wakes an unschedulable pod") {
  Fixture f;
  f.queue.set(pod("a"));
  f.pop();
  f.fail("a");
  f.loop.run(10s);
  auto told = made::pod_value("a");
  told.member("status").set("conditions", api::parse_yaml("[{type: PodScheduled}]").value());
  f.queue.set(std::make_shared<const PodInfo>(api::Object::make(std::move(told))));
  CHECK(f.pop().empty());
  f.queue.wake_if([](const PodInfo& p) { return p.has_affinity(); });
  CHECK(f.pop().empty());
  f.queue.set(pod("a", "{nodeSelector: {a: b}}"));
  CHECK(f.pop() == "a");
}

TEST_CASE("a gated pod is not queued until its gates are gone") {
  Fixture f;
  f.queue.set(pod("a", "{schedulingGates: [{name: x}]}"));
  CHECK(f.queue.waiting() == 0);
  CHECK(f.pop().empty());
  f.queue.set(pod("a"));
  CHECK(f.pop() == "a");
}

TEST_CASE("a pod that is gone stays gone") {
  Fixture f;
  f.queue.set(pod("a"));
  f.queue.set(pod("b"));
  f.queue.set(pod("c"));
  f.queue.remove("uid-b");
  CHECK(f.pop() == "a c");
  f.queue.remove("uid-a");
  f.fail("a", true);
  f.queue.done("uid-c");
  f.loop.run(1min);
  CHECK(f.pop().empty());
  CHECK(f.queue.waiting() == 0);
}

TEST_CASE("who waits on the queue is woken by an arrival and by the end of a back-off") {
  Fixture f;
  skiff::test::Tasks tasks(f.loop);
  int woken = 0;
  struct Waiter {
    static Task<void> run(Queue* queue, int* count) {
      for (;;) {
        co_await queue->wait();
        ++*count;
        queue->pop(100);
      }
    }
  };
  tasks.group.spawn("waiter", Waiter::run(&f.queue, &woken));
  f.loop.run(10s);
  CHECK(woken == 0);
  f.queue.set(pod("a"));
  f.loop.run();
  CHECK(woken == 1);
  f.fail("a", true);
  f.loop.run(999ms);
  CHECK(woken == 1);
  f.loop.run(1ms);
  CHECK(woken == 2);
}

TEST_CASE("who waits on the queue can be stopped, also while a pod backs off") {
  Fixture f;
  f.queue.set(pod("a"));
  f.pop();
  f.fail("a", true);
  skiff::test::Tasks tasks(f.loop);
  tasks.group.spawn("waiter", f.queue.wait());
  f.loop.run(10ms);
  CHECK(tasks.group.size() == 1);
  tasks.group.cancel();
  f.loop.run();
  CHECK(tasks.group.size() == 0);
}
