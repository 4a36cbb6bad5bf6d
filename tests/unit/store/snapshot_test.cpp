#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>

#include "machine.hpp"
#include "skiff/base/random.hpp"
#include "skiff/store/snapshot.hpp"

namespace skiff::store::testing {
namespace {

struct Cluster {
  Cluster() {
    store = std::move(*loop.run(Store::open(loop.env(), make_memory_log(), StoreOptions{})));
  }
  ~Cluster() { (void)loop.run(store->close()); }
  void put(const std::string& key, std::string value) {
    Op op = testing::put(key, std::move(value));
    op.attributes = {{"spec.nodeName", "n1"}};
    REQUIRE(loop.run(store->commit(ops(std::move(op))))[0].has_value());
  }
  Result<SnapshotInfo> save(const std::string& path, SnapshotOptions options = {"c-1", nullptr}) {
    return loop.run(save_snapshot(loop.env(), *store, path, std::move(options)));
  }
  Loop loop;
  std::unique_ptr<Store> store;
};

std::string message_of_check(const std::string& path) {
  const auto info = check_snapshot(path);
  return info ? "" : info.error().message;
}

}  // namespace

TEST_CASE("a snapshot comes back as it was taken") {
  Directory directory;
  Cluster cluster;
  for (int i = 0; i < 3000; ++i) {
    cluster.put("/pods/" + std::to_string(i), std::string(static_cast<std::size_t>(i), 'x'));
  }
  cluster.put("/pods/1", std::string("a\0b", 3));
  const std::string path = directory.file("one");
  const auto saved = cluster.save(path);
  REQUIRE(saved.has_value());
  CHECK(saved->keys == 3000);
  CHECK(saved->revision == cluster.store->revision());
  CHECK(saved->bytes == std::filesystem::file_size(path));
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK_FALSE(std::filesystem::exists(path + ".part"));

  std::vector<Record> records;
  const auto loaded =
      load_snapshot(path, {}, [&](Record record) { records.push_back(std::move(record)); });
  REQUIRE(loaded.has_value());
  CHECK(loaded->cluster == "c-1");
  CHECK(loaded->revision == saved->revision);
  CHECK(loaded->time == saved->time);
  CHECK(loaded->keys == 3000);
  REQUIRE(records.size() == 3000);
  for (const Record& record : records) {
    const auto item = cluster.store->get(record.item->key).value();
    CHECK(item->value == record.item->value);
    CHECK(item->created == record.item->created);
    CHECK(item->modified == record.item->modified);
    CHECK(item->attributes == record.item->attributes);
  }
  SECTION("and over an older one") {
    cluster.put("/pods/more", "1");
    REQUIRE(cluster.save(path).has_value());
    CHECK(check_snapshot(path)->keys == 3001);
  }
  SECTION("of an empty store") {
    Cluster empty;
    REQUIRE(empty.save(path).has_value());
    CHECK(check_snapshot(path)->keys == 0);
  }
}

TEST_CASE("sealed values stay sealed in a snapshot") {
  Directory directory;
  Cluster cluster;
  cluster.put("/pods/a", "plain words");
  cluster.put("/secrets/a", "hidden words");
  const std::string path = directory.file("one");
  REQUIRE(cluster.save(path, {"c", std::make_shared<ToySealer>('k')}).has_value());
  CHECK(has(slurp(path), "plain words"));
  CHECK_FALSE(has(slurp(path), "hidden words"));
  CHECK(check_snapshot(path).has_value());
  std::vector<Record> records;
  const auto keep = [&](Record record) { records.push_back(std::move(record)); };
  REQUIRE(load_snapshot(path, {"", std::make_shared<ToySealer>('k')}, keep).has_value());
  REQUIRE(records.size() == 2);
  CHECK(records[1].item->value == "hidden words");
  const auto none = load_snapshot(path, {}, keep);
  REQUIRE_FALSE(none.has_value());
  CHECK(has(none.error().message, "no key was given"));
  const auto wrong = load_snapshot(path, {"", std::make_shared<ToySealer>('w')}, keep);
  REQUIRE_FALSE(wrong.has_value());
  CHECK(has(wrong.error().message, "/secrets/a"));
}

TEST_CASE("what is not a whole snapshot is refused with a sentence, at every byte") {
  Directory directory;
  Cluster cluster;
  for (int i = 0; i < 5; ++i) cluster.put("/pods/" + std::to_string(i), "value");
  const std::string path = directory.file("one");
  REQUIRE(cluster.save(path).has_value());
  const std::string whole = slurp(path);
  const std::string other = directory.file("other");
  std::size_t seen = 0;
  const auto refused = [&] {
    return !load_snapshot(other, {}, [&](Record) { ++seen; }).has_value();
  };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO("cut at " << size);
    spill(other, whole.substr(0, size));
    CHECK(refused());
    CHECK(has(message_of_check(other), size == 0 ? "is not a snapshot" : "is cut short"));
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    INFO("altered at " << at);
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x21);
    spill(other, bytes);
    CHECK(refused());
  }
  CHECK(seen == 0);
  spill(other, whole + "x");
  CHECK(has(message_of_check(other), "altered"));
  std::string newer = whole;
  newer[8] = 7;
  spill(other, newer);
  CHECK(has(message_of_check(other), "newer skiff (format 7"));
  spill(other, "apiVersion: v1\nkind: List\n");
  CHECK(has(message_of_check(other), "is not a snapshot"));
  CHECK(check_snapshot(directory.file("none")).error().code == Code::not_found);
}

TEST_CASE("a snapshot that cannot be written leaves nothing behind") {
  Directory directory;
  Cluster cluster;
  cluster.put("/pods/a", "1");
  const auto nowhere = cluster.save(directory.file("none/one"));
  REQUIRE_FALSE(nowhere.has_value());
  CHECK(has(nowhere.error().message, "cannot create the snapshot"));
  std::filesystem::create_directory(directory.file("taken"));
  REQUIRE_FALSE(cluster.save(directory.file("taken")).has_value());
  CHECK_FALSE(std::filesystem::exists(directory.file("taken.part")));
}

}  // namespace skiff::store::testing
