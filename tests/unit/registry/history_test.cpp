// Who changed what, and reads of the past, through the registry.
#include <catch2/catch_test_macros.hpp>

#include "fixture.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::test {
namespace {

using registry::Change;
using registry::Target;

const api::Resource& maps() { return *api::find_resource("", "v1", "configmaps"); }

class Past : public Fixture {
 public:
  registry::WriteContext by(std::string user, std::string manager) {
    registry::WriteContext c;
    registry::User who;
    who.name = std::move(user);
    c.user = std::make_shared<registry::User>(std::move(who));
    c.manager = std::move(manager);
    return c;
  }
  store::Revision make(const std::string& name, const std::string& user) {
    Value doc = parse(R"({"metadata":{"name":")" + name + R"("},"data":{"a":"x"}})");
    Target t{&maps(), "default", "", ""};
    auto done = run(registry->create(t, std::move(doc), by(user, "tool")));
    return done.value().item->modified;
  }
  store::Revision change(const std::string& name, const std::string& value,
                         const std::string& user) {
    Target t{&maps(), "default", name, ""};
    Value patch = parse(R"({"data":{"a":")" + value + R"("}})");
    auto done = run(registry->patch(t, api::PatchType::merge, std::move(patch), by(user, "")));
    return done.value().item->modified;
  }
  store::Revision remove(const std::string& name) {
    Target t{&maps(), "default", name, ""};
    registry::DeleteOptions how;
    auto done = run(registry->remove(t, how, by("carol", "kubectl")));
    return done.value().item->modified;
  }
  registry::History history(Target t, std::size_t limit = 0) {
    registry::HistoryOptions o;
    o.limit = limit;
    return run(registry->history(std::move(t), o)).value();
  }
  static std::string value_of(const registry::ItemPtr& item) {
    return item ? registry::scan::text(registry::scan::find(item->value, {"data", "a"})) : "-";
  }
  static std::string tell(const registry::History& h) {
    std::string out;
    for (const Change& c : h.changes) {
      static constexpr const char* kVerbs[] = {"created", "modified", "deleted", "kept"};
      out += std::string(kVerbs[static_cast<int>(c.verb)]) + " " + c.author + " " +
             value_of(c.previous) + " " + value_of(c.item) + "\n";
    }
    return out;
  }
};

TEST_CASE("history tells who did what, with what was before") {
  Past p;
  p.make("c", "alice");
  p.change("c", "y", "bob");
  p.remove("c");
  p.make("c", "alice");
  const Target t{&maps(), "default", "c", ""};
  CHECK(Past::tell(p.history(t)) ==
        "created alice/tool - x\n"
        "modified bob x y\n"
        "deleted carol/kubectl y y\n"
        "created alice/tool - x\n");
  CHECK(Past::tell(p.history(t, 2)) ==
        "deleted carol/kubectl y y\n"
        "created alice/tool - x\n");
  CHECK(p.history({&maps(), "default", "never", ""}).changes.empty());
}

TEST_CASE("history of a namespace spans kinds, without events and leases") {
  Past p;
  p.make("c", "alice");
  Value secret = parse(R"({"metadata":{"name":"s"},"stringData":{"k":"v"}})");
  const Target t{api::find_resource("", "v1", "secrets"), "default", "", ""};
  REQUIRE(p.run(p.registry->create(t, std::move(secret), p.by("bob", ""))).has_value());
  Value event = parse(R"({"metadata":{"name":"e"},"involvedObject":{"namespace":"default"}})");
  const Target e{api::find_resource("", "v1", "events"), "default", "", ""};
  REQUIRE(p.run(p.registry->create(e, std::move(event), p.by("bob", ""))).has_value());
  std::string kinds;
  for (const Change& c : p.history({nullptr, "default", "", ""}).changes) {
    if (c.author != "system:apiserver") kinds += std::string(c.resource->plural) + " ";
  }
  CHECK(kinds == "configmaps secrets ");
}

TEST_CASE("an object that has not changed since is told as it is") {
  Past p;
  const store::Revision at = p.make("c", "alice");
  p.make("other", "alice");
  REQUIRE(p.run(p.store->compact(p.store->revision())).has_value());
  const registry::History h = p.history({&maps(), "default", "c", ""});
  REQUIRE(h.changes.size() == 1);
  CHECK(h.changes[0].verb == Change::Verb::kept);
  CHECK(h.changes[0].revision == at);
  CHECK(h.compacted >= at);
}

TEST_CASE("exact reads tell what was, and what is gone is expired") {
  Past p;
  const store::Revision made = p.make("c", "alice");
  const store::Revision changed = p.change("c", "y", "bob");
  const store::Revision removed = p.remove("c");
  const Target one{&maps(), "default", "c", ""};
  const Target all{&maps(), "default", "", ""};
  registry::ReadOptions o;
  o.resource_version_match = "Exact";
  const auto at = [&](store::Revision r) {
    o.resource_version = std::to_string(r);
    return p.run(p.registry->fetch(one, o));
  };
  CHECK(Past::value_of(at(made).value()) == "x");
  CHECK(Past::value_of(at(changed).value()) == "y");
  CHECK(at(removed).error().code == Code::not_found);
  CHECK(at(removed + 1000).error().code == Code::timeout);
  o.resource_version = std::to_string(made);
  const auto listed = p.run(p.registry->fetch_list(all, o));
  REQUIRE(listed.value().items.size() == 1);
  CHECK(Past::value_of(listed.value().items[0]) == "x");
  CHECK(listed.value().revision == made);
  p.make("d", "alice");
  REQUIRE(p.run(p.store->compact(p.store->revision())).has_value());
  CHECK(at(made).error().code == Code::expired);
  const auto gone = p.run(p.registry->fetch_list(all, o));
  CHECK(gone.error().code == Code::expired);
  CHECK(gone.error().message == "The resourceVersion for the provided list is too old.");
}

Task<Result<registry::ItemPtr>> nothing_at_all() { co_return registry::ItemPtr(); }

// How many turns of the loop `task` takes.
int turns(Past& p, Task<Result<registry::ItemPtr>> task) {
  p.settle();
  bool done = false;
  asio::co_spawn(p.io, std::move(task),
                 [&](std::exception_ptr, Result<registry::ItemPtr> r) { done = r.has_value(); });
  int turns = 0;
  for (; !done && turns < 1000; ++turns) {
    p.io.restart();
    p.io.poll_one();
  }
  return turns;
}

TEST_CASE("a fresh read on a single server waits for nothing") {
  Past p;
  p.make("c", "alice");
  const Target one{&maps(), "default", "c", ""};
  CHECK(turns(p, p.registry->fetch(one, {})) == turns(p, nothing_at_all()));
}

TEST_CASE("the author of many writes is one string") {
  Past p;
  p.make("a", "alice");
  p.make("b", "alice");
  const auto records = p.run(p.store->history(store::Range::prefix("/core/configmaps/default/"),
                                              p.store->compacted(), p.store->revision(), 0))
                           .value();
  REQUIRE(records.size() >= 2);
  CHECK(records[records.size() - 1].author.get() == records[records.size() - 2].author.get());
}

}  // namespace
}  // namespace skiff::test
