#include <catch2/catch_test_macros.hpp>

#include "support/fake_client.hpp"
#include "support/loop.hpp"

#include "skiff/client/reconcile.hpp"

using namespace skiff;
using api::ObjectPtr;
using api::Value;
using client::Informer;
using client::Outcome;
using test::FakeClient;
using test::Loop;
using test::Tasks;

namespace {

const client::Ref kMaps = client::resources::kConfigMaps;

Value map(const char* name) {
  return Value::object(
      {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", Value::object({{"name", name}})}});
}

// Makes ConfigMap "copy" once for "source", as a controller would that must never make two.
class Copier final : public client::Reconciler {
 public:
  Copier(Loop& loop, FakeClient& api, Informer& maps) : loop_(loop), api_(api), maps_(maps) {}
  std::string_view name() const override { return "copier"; }
  void watch(client::WorkQueue& queue) override {
    queue_ = &queue;
    maps_.add_handler([this](const ObjectPtr&, const ObjectPtr& now) {
      if (now && now->name() == "source") queue_->add(now->key());
    });
  }
  Task<Result<Outcome>> reconcile(api::NamespacedName) override {
    ++runs;
    Outcome outcome;
    if (fail_first && runs == 1) co_return Error{Code::unavailable, "not yet"};
    if (maps_.get("a", "copy")) co_return outcome;
    const auto written = api_.create_now(kMaps.in("a"), map("copy"));
    if (!written) {
      ++conflicts;
      co_return written.error();
    }
    outcome.wrote(maps_, **written);
    if (error_after) outcome.retry = Error{Code::internal, "half done"};
    queue_->add({"a", "source"});  // somebody asks again before the cache can know
    co_return outcome;
  }

  int runs = 0;
  int conflicts = 0;
  bool fail_first = false;
  bool error_after = false;

 private:
  Loop& loop_;
  FakeClient& api_;
  Informer& maps_;
  client::WorkQueue* queue_ = nullptr;
};

struct Fixture {
  Loop loop;
  FakeClient api{loop.env};
  client::InformerFactory informers{loop.env, api};
  Copier copier{loop, api, informers.get(kMaps)};
  Tasks tasks{loop};

  void start() {
    (void)api.create_now(kMaps.in("a"), map("source"));
    client::run_reconciler(loop.env, tasks.group, copier, informers);
    informers.start(tasks.group);
    loop.run(1min);
  }
};

}  // namespace

TEST_CASE("a key is not handed out before the cache shows its last write") {
  Fixture f;
  f.start();
  CHECK(f.copier.conflicts == 0);
  CHECK(f.copier.runs == 2);
}

TEST_CASE("errors are tried again") {
  Fixture f;
  f.copier.fail_first = true;
  f.start();
  CHECK(f.api.find(kMaps.at("a", "copy")) != nullptr);
  CHECK(f.copier.runs == 3);
}

TEST_CASE("an error after a write waits for the cache too") {
  Fixture f;
  f.copier.error_after = true;
  f.start();
  CHECK(f.copier.conflicts == 0);
  CHECK(f.copier.runs == 3);  // with the retry
}

TEST_CASE("a removal has settled once the cache shows it") {
  Loop loop;
  FakeClient api(loop.env);
  Informer maps(loop.env, api, kMaps);
  Tasks tasks(loop);
  const ObjectPtr one = *api.create_now(kMaps.in("a"), map("one"));
  maps.start(tasks.group);
  loop.run();
  Outcome outcome;
  CHECK(outcome.settled());
  outcome.removed(maps, *one);
  CHECK_FALSE(outcome.settled());
  (void)api.remove_now(kMaps.at("a", "one"));
  CHECK_FALSE(outcome.settled());
  loop.run();
  CHECK(outcome.settled());
}
