// The log over a real etcd. No co_await stands inside a Catch2 macro: GCC 12 would do it twice.
#include "etcd_fixture.hpp"
#include "skiff/http/client.hpp"

using namespace skiff;
using namespace skiff::etcd;
using namespace skiff::etcd::test;

TEST_CASE("two servers write and see the same") {
  Lab lab;
  Server& a = lab.add();
  Server& b = lab.add();
  auto body = [&]() -> Task<void> {
    co_await lab.begin(a);
    co_await lab.begin(b);
    CHECK(a.log->decider() == store::Decider::elsewhere);
    store::Op first = put("/core/pods/x/a", R"({"v":""})", 0);
    first.revision_slot = 6;
    first.attributes = {{"spec.nodeName", "n1"}};
    first.author = std::make_shared<const std::string>("alice/kubectl");
    const auto made = co_await a.write(first);
    REQUIRE(made.has_value());
    const auto r1 = co_await b.write(first);
    CHECK(r1.error().code == Code::already_exists);
    const auto r2 = co_await b.write(put("/core/pods/x/a", "2", 1));
    CHECK(r2.error().code == Code::conflict);
    const auto r3 = co_await b.write(put("/core/pods/x/b", "2", 7));
    CHECK(r3.error().code == Code::not_found);
    const auto r4 = co_await b.write(erase("/core/pods/x/b"));
    CHECK(r4.error().code == Code::not_found);
    const auto r5 = co_await b.write(erase("/core/pods/x/a", 1));
    CHECK(r5.error().code == Code::conflict);
    const auto r6 = co_await b.write(erase("/core/pods/x/a", 0));
    CHECK(r6.error().code == Code::already_exists);
    const auto changed = co_await b.write(put("/core/pods/x/a", "second", *made));
    REQUIRE(changed.has_value());
    const auto blind = co_await a.write(put("/core/pods/x/a", "third"));
    REQUIRE(blind.has_value());
    store::Op last = erase("/core/pods/x/a", *blind);
    last.value = "gone at ";
    last.revision_slot = 8;
    const auto gone = co_await b.write(last);
    REQUIRE(gone.has_value());
    const auto r7 = co_await a.log->barrier();
    CHECK(r7.value() == *gone);
    co_await a.mirror.reach(*gone);
    co_await b.mirror.reach(*gone);
    for (const Server* server : {&a, &b}) {
      const auto& told = server->mirror.delivered;
      REQUIRE(told.size() == 4);
      CHECK(told[0].item->value == R"({"v":")" + std::to_string(*made) + R"("})");
      CHECK(told[0].item->attributes == first.attributes);
      CHECK(*told[0].author == "alice/kubectl");
      CHECK(told[0].previous == 0);
      CHECK(told[2].previous == *changed);
      CHECK(told[2].item->created == *made);
      CHECK(told[3].erase);
      CHECK(told[3].item->value == "gone at " + std::to_string(*gone));
      CHECK(told[3].item->created == *made);
      CHECK(told[3].item->modified == *gone);
      CHECK(told[3].previous == *blind);
      CHECK(server->mirror.items.empty());
    }
    auto told = co_await a.log->history(store::Range::key("/core/pods/x/a"), *made - 1, *gone, 0);
    REQUIRE(told.has_value());
    CHECK(told->size() == 4);
    told = co_await a.log->history(store::Range::key("/core/pods/x/a"), *made, *blind, 0);
    REQUIRE(told.has_value());
    REQUIRE(told->size() == 2);
    CHECK((*told)[0].item->value == "second");
    auto state = co_await a.log->state(store::Range::prefix("/core/"), *changed, 0);
    REQUIRE(state.has_value());
    REQUIRE(state->size() == 1);
    CHECK((*state)[0].item->value == "second");
  };
  lab.run(body);
}

TEST_CASE("a counter that two servers raise loses nothing") {
  Lab lab;
  Server& a = lab.add();
  Server& b = lab.add();
  auto raise = [](Server* server, int times) -> Task<void> {
    while (times > 0) {
      const store::ItemPtr now = server->mirror.items["/n"];
      const int next = now ? std::stoi(now->value) + 1 : 1;
      store::Op op = put("/n", std::to_string(next), now ? now->modified : 0);
      const auto done = co_await server->write(op);
      if (done) --times;
      const auto newest = co_await server->log->barrier();
      REQUIRE(newest.has_value());
      co_await server->mirror.reach(*newest);
    }
  };
  auto body = [&]() -> Task<void> {
    co_await lab.begin(a);
    co_await lab.begin(b);
    TaskGroup group(lab.loop.env.executor);
    group.spawn("a", raise(&a, 40));
    group.spawn("b", raise(&b, 40));
    co_await group.join();
    const auto newest = co_await a.log->barrier();
    co_await a.mirror.reach(*newest);
    CHECK(a.mirror.items["/n"]->value == "80");
  };
  lab.run(body);
}

TEST_CASE("etcd is killed and comes back: the watch goes on without gap or repeat") {
  Lab lab;
  Server& a = lab.add();
  Server& b = lab.add();
  auto body = [&]() -> Task<void> {
    co_await lab.begin(a);
    co_await lab.begin(b);
    std::vector<store::Revision> acknowledged;
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 20; ++i) {
        const auto done = co_await a.write(put("/k" + std::to_string(i), std::to_string(round)));
        REQUIRE(done.has_value());
        acknowledged.push_back(*done);
      }
      lab.etcd.kill();
      while (a.log->decider() != store::Decider::nobody) co_await a.mirror.changed.wait();
      const auto refused = co_await a.write(put("/x", "y"));
      CHECK(refused.error().code == Code::unavailable);
      CHECK(refused.error().message.find("nothing was sent") != std::string::npos);
      const auto r12 = co_await a.log->barrier();
      CHECK(r12.error().code == Code::unavailable);
      lab.etcd.start();
      while (a.log->decider() != store::Decider::elsewhere) co_await a.mirror.changed.wait();
    }
    const auto newest = co_await b.log->barrier();
    if (newest) co_await b.mirror.reach(*newest);
    co_await b.mirror.reach(acknowledged.back());
    std::vector<store::Revision> told;
    for (const store::Record& record : b.mirror.delivered) told.push_back(record.item->modified);
    CHECK(told == acknowledged);
    CHECK(b.mirror.replaced == 0);
  };
  lab.run(body);
}

TEST_CASE("values up to etcd's limit") {
  Lab lab;
  Server& a = lab.add();
  auto body = [&]() -> Task<void> {
    co_await lab.begin(a);
    std::string large(1'400'000, 'v');
    store::Revision newest = 0;
    for (int i = 0; i < 12; ++i) {
      const auto done = co_await a.write(put("/big" + std::to_string(i), large, 0));
      REQUIRE(done.has_value());
      newest = *done;
    }
    co_await a.mirror.reach(newest);
    CHECK(a.mirror.items["/big3"]->value == large);
    for (const std::size_t size : {1'600'000U, 2'900'000U}) {
      const auto refused = co_await a.write(put("/more", std::string(size, 'v'), 0));
      REQUIRE(refused.has_error());
      CHECK(refused.error().code == Code::too_large);
      CHECK(refused.error().message.find("--max-request-bytes") != std::string::npos);
    }
    auto told = co_await a.log->history(store::Range::prefix("/big"), 2, newest, 0);
    REQUIRE(told.has_value());
    CHECK(told->size() == 12);
    Server& again = lab.add();
    const auto r15 = co_await again.begin();
    REQUIRE(r15.has_value());
    CHECK(again.mirror.items.size() == 12);
  };
  lab.run(body);
}

TEST_CASE("compaction: history ends, and who was away too long reads anew") {
  Lab lab;
  Server& a = lab.add();
  EtcdOptions slow = lab.options();
  slow.history = 2s;
  Server& b = lab.add(slow);
  auto body = [&]() -> Task<void> {
    co_await lab.begin(a);
    store::Revision newest = 0;
    for (int i = 0; i < 10; ++i) {
      newest = (co_await a.write(put("/k", std::to_string(i)))).value();
    }
    const auto r18 = co_await a.log->compact(newest - 2);
    REQUIRE(r18.has_value());
    CHECK(a.log->compacted() == newest - 2);
    const auto old = co_await a.log->history(store::Range::key("/k"), newest - 5, newest, 0);
    CHECK(old.error().code == Code::expired);
    const auto kept = co_await a.log->history(store::Range::key("/k"), newest - 2, newest, 0);
    REQUIRE(kept.has_value());
    CHECK(kept->size() == 2);
    const store::Range all;
    const auto r19 = co_await a.log->state(all, newest - 5, 0);
    CHECK(r19.error().code == Code::expired);
    co_await lab.begin(b);
    CHECK(b.log->compacted() == newest - 2);
    for (int i = 0; i < 400 && b.log->compacted() < newest; ++i) {
      newest = (co_await a.write(put("/k", "again"))).value();
      co_await lab.loop.clock.sleep_for(20ms);
    }
    CHECK(b.log->compacted() > a.log->compacted());
  };
  lab.run(body);
}

TEST_CASE("endpoints that are dead or wrong") {
  Lab lab;
  Server& ready = lab.add();
  EtcdOptions one_dead = lab.options();
  one_dead.endpoints.insert(one_dead.endpoints.begin(), "http://127.0.0.1:1");
  Server& a = lab.add(one_dead);
  EtcdOptions dead = lab.options();
  dead.endpoints = {"http://127.0.0.1:1"};
  Server& b = lab.add(dead);
  auto body = [&]() -> Task<void> {
    co_await lab.begin(ready);
    const auto r22 = co_await a.begin();
    REQUIRE(r22.has_value());
    const auto done = co_await a.write(put("/a", "b", 0));
    INFO((done ? std::string() : done.error().message));
    CHECK(done.has_value());
    const auto refused = co_await b.begin();
    REQUIRE(refused.has_error());
    CHECK(refused.error().code == Code::unavailable);
    CHECK(refused.error().message.find("127.0.0.1:1") != std::string::npos);
    CHECK(refused.error().message.find('\n') == std::string::npos);
  };
  lab.run(body);
}

TEST_CASE("one server leads; another follows when it goes") {
  Lab lab;
  Server& ready = lab.add();
  auto first = open_election(lab.loop.env, lab.options(), "one", "at home");
  auto second = open_election(lab.loop.env, lab.options(), "two");
  REQUIRE(first.has_value());
  REQUIRE(second.has_value());
  bool won = false;
  auto stand = [](Election* election, bool* out) -> Task<void> {
    *out = (co_await election->campaign()).has_value();
  };
  auto body = [&]() -> Task<void> {
    co_await lab.begin(ready);
    const auto r26 = co_await (*first)->campaign();
    REQUIRE(r26.has_value());
    CHECK((*first)->leads());
    TaskGroup group(lab.loop.env.executor);
    group.spawn("second", stand(second->get(), &won));
    co_await lab.loop.clock.sleep_for(5s);  // twice the lease: it is kept alive
    CHECK_FALSE(won);
    CHECK((*first)->leads());
    CHECK((*second)->leader() == "one");
    const auto both = co_await (*second)->candidates();
    REQUIRE(both.has_value());
    REQUIRE(both->size() == 2);
    CHECK((*both)[0].name == "one");
    CHECK((*both)[0].about == "at home");
    CHECK((*both)[0].leads);
    CHECK_FALSE((*both)[1].leads);
    co_await (*first)->close();
    CHECK_FALSE((*first)->leads());
    co_await group.join();
    const auto one = co_await (*second)->candidates();
    REQUIRE(one.has_value());
    CHECK(one->size() == 1);
    CHECK(won);
    CHECK((*second)->leads());
    lab.etcd.kill();
    co_await (*second)->lost();
    CHECK_FALSE((*second)->leads());
    co_await (*second)->close();
  };
  lab.run(body);
}

TEST_CASE("names and passwords") {
  Lab lab;
  EtcdOptions named = lab.options();
  named.user = "root";
  named.password = "secret";
  EtcdOptions mistaken = named;
  mistaken.password = "guess";
  Server& ready = lab.add(named);  // a name where none is asked for does no harm
  Server& right = lab.add(named);
  Server& wrong = lab.add(mistaken);
  Server& nobody = lab.add();
  http::Client client(lab.loop.env);
  auto ask = [](http::Client* client, std::string url, std::string body) -> Task<void> {
    http::ClientRequest request;
    request.method = http::Method::post;
    request.url = std::move(url);
    request.body = std::move(body);
    const auto answer = co_await client->request(std::move(request));
    REQUIRE(answer.has_value());
    REQUIRE(answer->status == 200);
  };
  auto body = [&]() -> Task<void> {
    co_await lab.begin(ready);
    const std::string url = lab.etcd.url() + "/v3/auth/";
    co_await ask(&client, url + "user/add", R"({"name":"root","password":"secret"})");
    co_await ask(&client, url + "role/add", R"({"name":"root"})");
    co_await ask(&client, url + "user/grant", R"({"user":"root","role":"root"})");
    co_await ask(&client, url + "enable", "{}");
    const auto r28 = co_await right.begin();
    REQUIRE(r28.has_value());
    const auto done = co_await right.write(put("/a", "b", 0));
    REQUIRE(done.has_value());
    co_await right.mirror.reach(*done);
    for (Server* server : {&wrong, &nobody}) {
      const auto refused = co_await server->begin();
      REQUIRE(refused.has_error());
      CHECK(refused.error().code == Code::unauthorized);
      CHECK(refused.error().message.find('\n') == std::string::npos);
      CHECK(refused.error().message.find("secret") == std::string::npos);
      CHECK(refused.error().message.find("guess") == std::string::npos);
    }
  };
  lab.run(body);
}
