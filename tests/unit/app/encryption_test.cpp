#include "encryption.hpp"

#include <poll.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>

#include "fixture.hpp"
#include "skiff/pki/certificate.hpp"

using namespace skiff;
using namespace skiff::app;
using namespace skiff::test;

namespace {

ServerOptions options_in(const Directory& directory) {
  ServerOptions o;
  o.data_dir = directory.path;
  o.encrypt = {"secrets"};
  return o;
}

std::unique_ptr<store::Store> make_store(Loop& loop) {
  auto opened = finish(loop, store::Store::open(loop.env, store::make_memory_log(), {}));
  REQUIRE(ok(opened));
  return std::move(*opened);
}

store::ItemPtr put(Loop& loop, store::Store& store, const std::string& key) {
  store::Op op;
  op.key = key;
  op.value = R"({"kind":"Secret","metadata":{"name":"s","resourceVersion":""},"data":{}})";
  op.revision_slot = static_cast<std::uint32_t>(op.value.find("\"\"") + 1);
  op.attributes = {{"metadata.name", "s"}};
  std::vector<store::Op> ops;
  ops.push_back(std::move(op));
  auto verdicts = finish(loop, store.commit(std::move(ops)));
  REQUIRE(ok(verdicts.front()));
  return *verdicts.front();
}

void close(Loop& loop, store::Store& store) { CHECK(ok(finish(loop, store.close()))); }

}  // namespace

TEST_CASE("kinds are named as kubectl names them") {
  CHECK(encryption_prefixes({"secrets", "configmaps", "deployments.apps"}).value() ==
        std::vector<std::string>{"/core/secrets/", "/core/configmaps/", "/apps/deployments/"});
  CHECK(encryption_prefixes({"none"}).value().empty());
  for (const char* kind : {"secret", "deployments", "leases.coordination.k8s.io", "events", ""}) {
    const auto refused = encryption_prefixes({kind});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.starts_with(std::string("--encrypt ") + kind + ": "));
  }
}

TEST_CASE("keys are made once and kept to oneself") {
  Loop loop;
  const Directory directory;
  const ServerOptions options = options_in(directory);
  const auto first = Encryption::open(loop.env, options);
  REQUIRE(ok(first));
  const std::string path = directory.path + "/pki/encryption.keys";
  CHECK(std::filesystem::status(path).permissions() == std::filesystem::perms(0600));
  const std::string sealed = (*first)->sealer()->seal("/core/secrets/a/b", "value");
  CHECK((*first)->sealer()->covers("/core/secrets/a/b"));
  CHECK_FALSE((*first)->sealer()->covers("/core/configmaps/a/b"));
  const auto again = Encryption::open(loop.env, options);
  REQUIRE(ok(again));
  CHECK((*again)->sealer()->open("/core/secrets/a/b", sealed).value() == "value");
  CHECK((*again)->own_keys() == (*first)->own_keys());
}

TEST_CASE("keys that are missing or wrong are told in one line, and nothing is made") {
  Loop loop;
  const Directory directory;
  ServerOptions options = options_in(directory);
  REQUIRE(ok(pki::write_private_file(directory.path + "/pki/encryption.json",
                                     R"({"sealedWith":"0011223344556677"})")));
  const auto missing = Encryption::open(loop.env, options);
  REQUIRE_FALSE(missing.has_value());
  CHECK(
      missing.error().message.starts_with("the encryption keys are missing: this server's data "
                                          "is encrypted with the key 0011223344556677"));
  CHECK_FALSE(std::filesystem::exists(directory.path + "/pki/encryption.keys"));
  options.encryption_keys = directory.path + "/nowhere";
  CHECK(Encryption::open(loop.env, options).error().message.find("/nowhere") != std::string::npos);
  REQUIRE(ok(pki::write_private_file(options.encryption_keys, "swordfish\n")));
  const auto wrong = Encryption::open(loop.env, options);
  REQUIRE_FALSE(wrong.has_value());
  CHECK(wrong.error().message.find("line 1 is no key") != std::string::npos);
  CHECK(wrong.error().message.find("swordfish") == std::string::npos);
}

TEST_CASE("keys come out of a command, which is not waited for for ever") {
  CHECK(output_of("printf 'a\\nb\\n'", 10s).value() == "a\nb\n");
  CHECK(output_of("echo no >&2; exit 3", 10s).error().message.ends_with(" failed"));
  CHECK(output_of("sleep 60", 50ms).error().message == "\"sleep 60\" takes too long");
  // What the shell started ends too: its end of this pipe closes.
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const std::string holder = "sleep 60 3>&" + std::to_string(ends[1]) + "; true";
  CHECK(!output_of(holder, 50ms));
  ::close(ends[1]);
  pollfd closed{ends[0], POLLIN, 0};
  CHECK(::poll(&closed, 1, 10'000) == 1);
  ::close(ends[0]);
  CHECK(output_of("yes", 10s).error().message == "\"yes\" prints too much to be keys");
}

TEST_CASE("touching an object changes nothing but its revision") {
  Loop loop;
  const auto store = make_store(loop);
  const store::ItemPtr before = put(loop, *store, "/core/secrets/a/s");
  std::vector<store::Op> ops;
  ops.push_back(touch(*before));
  const auto verdicts = finish(loop, store->commit(std::move(ops)));
  REQUIRE(ok(verdicts.front()));
  const store::ItemPtr after = *verdicts.front();
  CHECK(after->modified > before->modified);
  CHECK(after->attributes == before->attributes);
  CHECK(after->value == R"({"kind":"Secret","metadata":{"name":"s","resourceVersion":")" +
                            std::to_string(after->modified) + R"("},"data":{}})");
  std::vector<store::Op> late;
  late.push_back(touch(*before));
  const auto lost = finish(loop, store->commit(std::move(late)));
  CHECK(lost.front().error().code == Code::conflict);
  close(loop, *store);
}

TEST_CASE("a new key: everything covered is written once more, and the old one goes in the end") {
  Loop loop;
  const Directory directory;
  const auto store = make_store(loop);
  std::vector<store::ItemPtr> items;
  for (int i = 0; i < 150; ++i) {
    items.push_back(put(loop, *store, "/core/secrets/a/" + std::to_string(i)));
  }
  const store::ItemPtr other = put(loop, *store, "/core/pods/a/p");
  auto opened = Encryption::open(loop.env, options_in(directory));
  REQUIRE(ok(opened));
  const std::unique_ptr<Encryption> encryption = std::move(*opened);
  bool free = false;
  {
    Tasks tasks(loop);
    encryption->start(tasks.group, *store, [&] { return free; });
    loop.run(5s);
    CHECK(encryption->status()["done"].as_bool());
    const std::string first = encryption->status()["encrypting"].as_string();
    const store::Revision rewritten = store->revision();

    const std::string key = pki::SealKeys::generate(loop.random).to_text();
    REQUIRE(ok(finish(loop, encryption->add_key(key, false))));
    loop.run(5s);
    CHECK(store->revision() == rewritten);  // it can be read with, no more
    REQUIRE(ok(finish(loop, encryption->add_key(key, true))));
    loop.run(5s);
    CHECK(encryption->status()["encrypting"].as_string() != first);
    CHECK(encryption->status()["done"].as_bool());
    CHECK(encryption->status()["total"].as_int() == 150);
    CHECK(encryption->status()["oldKeysNeeded"].as_bool());
    for (const store::ItemPtr& item : items) {
      CHECK(store->get(item->key).value()->modified > rewritten);
    }
    CHECK(store->get(other->key).value()->modified == other->modified);
    CHECK(encryption->status()["keys"].items().size() == 2);

    // Not before history and the log have let go of what it sealed.
    REQUIRE(ok(finish(loop, store->compact(store->revision()))));
    loop.run(std::chrono::hours(1));
    CHECK(encryption->status()["keys"].items().size() == 2);
    free = true;
    loop.run(std::chrono::hours(1));
    CHECK(encryption->status()["keys"].items().size() == 1);
  }
  const auto again = Encryption::open(loop.env, options_in(directory));
  REQUIRE(ok(again));
  CHECK((*again)->status()["keys"] == encryption->status()["keys"]);
  CHECK((*again)->status()["done"].as_bool());
  close(loop, *store);
}

TEST_CASE("keys of a file are read again, but never lose one that is needed") {
  Loop loop;
  const Directory directory;
  const auto store = make_store(loop);
  ServerOptions options = options_in(directory);
  options.encryption_keys = directory.path + "/keys";
  const std::string a = pki::SealKeys::generate(loop.random).to_text();
  const std::string b = pki::SealKeys::generate(loop.random).to_text();
  REQUIRE(ok(pki::write_private_file(options.encryption_keys, a)));
  auto opened = Encryption::open(loop.env, options);
  REQUIRE(ok(opened));
  const std::unique_ptr<Encryption> encryption = std::move(*opened);
  {
    Tasks tasks(loop);
    encryption->start(tasks.group, *store, [] { return true; });
    loop.run(5s);
    const auto refused = finish(loop, encryption->add_key(b, true));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.find("put the new key there") != std::string::npos);
    REQUIRE(ok(pki::write_private_file(options.encryption_keys, b)));
    const auto lost = finish(loop, encryption->reload());
    REQUIRE_FALSE(lost.has_value());
    CHECK(lost.error().message.find("keep it below the new one") != std::string::npos);
    REQUIRE(ok(pki::write_private_file(options.encryption_keys, b + a)));
    REQUIRE(ok(finish(loop, encryption->reload())));
    loop.run(5s);
    CHECK(encryption->status()["done"].as_bool());
    CHECK(encryption->status()["keys"].items().size() == 2);
    REQUIRE(ok(pki::write_private_file(options.encryption_keys, b)));
    CHECK(ok(finish(loop, encryption->reload())));
  }
  close(loop, *store);
}
