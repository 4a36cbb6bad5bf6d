// What a server without a quorum answers, over a store that says it has none.
#include <catch2/catch_test_macros.hpp>

#include "cluster.hpp"

namespace skiff::test {
namespace {

// A store whose servers can be cut off from each other.
class Cut final : public store::Store {
 public:
  explicit Cut(store::Store& inner) : inner_(inner) {}

  bool cut = false;
  int commits = 0;
  int barriers = 0;

  store::Revision revision() const override { return inner_.revision(); }
  store::Revision compacted() const override { return inner_.compacted(); }
  store::Revision window() const override { return inner_.window(); }
  Result<store::ItemPtr> get(std::string_view key, store::Revision at) const override {
    return inner_.get(key, at);
  }
  Result<store::Page> range(const store::Range& r, std::size_t limit,
                            store::Revision at) const override {
    return inner_.range(r, limit, at);
  }
  Task<Result<store::ItemPtr>> get_at(std::string key, store::Revision at) override {
    return inner_.get_at(std::move(key), at);
  }
  Task<Result<store::Page>> range_at(store::Range r, std::size_t limit,
                                     store::Revision at) override {
    return inner_.range_at(std::move(r), limit, at);
  }
  Task<Result<std::vector<store::Record>>> history(store::Range r, store::Revision after,
                                                   store::Revision until,
                                                   std::size_t limit) override {
    return inner_.history(std::move(r), after, until, limit);
  }
  Task<Result<store::Revision>> barrier() override {
    ++barriers;
    if (cut) co_return Error{Code::unavailable, "no quorum"};
    co_return inner_.revision();
  }
  store::Decider decider() const override {
    return cut ? store::Decider::nobody : store::Decider::here;
  }
  Task<void> decider_changed() override { return inner_.decider_changed(); }
  Task<std::vector<Result<store::ItemPtr>>> commit(std::vector<store::Op> ops) override {
    ++commits;
    return inner_.commit(std::move(ops));
  }
  std::optional<Error> failing() const override { return inner_.failing(); }
  Result<std::unique_ptr<store::Watch>> watch(store::WatchOptions o) override {
    return inner_.watch(std::move(o));
  }
  Task<Result<void>> compact(store::Revision r) override { return inner_.compact(r); }
  Task<Result<void>> close() override { return inner_.close(); }

 private:
  store::Store& inner_;
};

class Lonely {
 public:
  Lonely() : store(cluster.store()), group(cluster.io().get_executor()) {
    registry::Options options;
    registry = std::make_unique<registry::Registry>(cluster.env(), store, options);
    REQUIRE(cluster.run(registry->start(group)).has_value());
    apiserver::Options o;
    o.static_tokens.push_back({"admin", {"admin", "", {"system:masters"}, {}}});
    api = std::make_unique<apiserver::ApiServer>(cluster.env(), *registry, nullptr, std::move(o));
  }
  ~Lonely() {
    group.cancel();
    cluster.run(group.join());
  }
  Lonely(const Lonely&) = delete;
  Lonely& operator=(const Lonely&) = delete;

  Recorder ask(std::string method, std::string path, std::string query = "",
               std::string body = "") {
    Recorder out;
    http::Request r;
    r.method = http::parse_method(method);
    r.method_name = std::move(method);
    r.path = r.target = std::move(path);
    r.query = http::Query::parse(query).value();
    r.headers.add("Authorization", "Bearer admin");
    if (!body.empty()) r.headers.add("Content-Type", "application/json");
    r.body = std::move(body);
    cluster.run(serve(api.get(), std::move(r), &out));
    return out;
  }

  Cluster cluster;
  Cut store;
  TaskGroup group;
  std::unique_ptr<registry::Registry> registry;
  std::unique_ptr<apiserver::ApiServer> api;

 private:
  static Task<void> serve(apiserver::ApiServer* api, http::Request r, Recorder* out) {
    co_await api->handle(std::move(r), *out);
  }
};

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";

TEST_CASE("reads go on without a quorum, and say so") {
  Lonely l;
  REQUIRE(l.ask("POST", kMaps, "", R"({"metadata":{"name":"c"}})").status == 201);
  const std::string one = std::string(kMaps) + "/c";
  CHECK_FALSE(l.ask("GET", one).headers.has("Warning"));
  l.store.cut = true;
  for (const std::string& path : {one, std::string(kMaps)}) {
    const Recorder answer = l.ask("GET", path);
    CHECK(answer.status == 200);
    CHECK(answer.headers.get("Warning").starts_with("299 - \"this may be stale"));
  }
  // Who asked for any state at all gets it without a word, and without being made to wait.
  l.store.barriers = 0;
  CHECK_FALSE(l.ask("GET", kMaps, "resourceVersion=0").headers.has("Warning"));
  CHECK(l.store.barriers == 0);
  CHECK(l.ask("GET", "/skiff/v1/store").body.find("\"nobody\"") != std::string::npos);
  l.store.cut = false;
  CHECK_FALSE(l.ask("GET", one).headers.has("Warning"));
}

TEST_CASE("writes without a quorum fail at once") {
  Lonely l;
  REQUIRE(l.ask("POST", kMaps, "", R"({"metadata":{"name":"c"}})").status == 201);
  l.store.cut = true;
  l.store.commits = 0;
  const std::string one = std::string(kMaps) + "/c";
  const TimePoint before = l.cluster.clock().now();
  for (const char* method : {"POST", "PUT", "DELETE"}) {
    const bool create = std::string_view(method) == "POST";
    const Recorder answer =
        l.ask(method, create ? kMaps : one, "",
              std::string_view(method) == "DELETE" ? "" : R"({"metadata":{"name":"d"}})");
    CHECK(answer.status == 503);
    CHECK(answer.body.find("nothing was written") != std::string::npos);
  }
  CHECK(l.ask("DELETE", kMaps).status == 503);
  CHECK(l.store.commits == 0);
  CHECK(l.cluster.clock().now() == before);
  l.store.cut = false;
  CHECK(l.ask("DELETE", one).status == 200);
}

}  // namespace
}  // namespace skiff::test
