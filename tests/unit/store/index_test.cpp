#include "index.hpp"

#include <catch2/catch_test_macros.hpp>
#include <map>

#include "skiff/base/random.hpp"

namespace skiff::store {
namespace {

Slot slot(const std::string& key, Revision revision, bool erased = false) {
  auto item = std::make_shared<Item>();
  item->key = key;
  item->modified = revision;
  return {std::move(item), erased};
}

struct Model {
  std::map<std::string, std::pair<Revision, bool>> keys;  // revision, erased

  void check(const Index& index, const std::string& from, const std::string& to) const {
    const auto first = index.lower_bound(from);
    const auto last = to.empty() ? index.end() : index.lower_bound(to);
    auto expected = keys.lower_bound(from);
    const auto stop = to.empty() ? keys.end() : keys.lower_bound(to);
    std::size_t live = 0;
    bool same = true;
    index.scan(first, last, [&](const Slot& s) {
      if (expected == stop) return same = false;
      same = same && s.item->key == expected->first && s.item->modified == expected->second.first &&
             s.erased == expected->second.second;
      live += s.erased ? 0 : 1;
      ++expected;
      return true;
    });
    CHECK(same);
    CHECK(expected == stop);
    CHECK(index.count_live(first, last) == live);
  }
};

}  // namespace

TEST_CASE("index agrees with an ordered map") {
  SeededRandom random(7);
  Index index;
  Model model;
  for (Revision i = 1; i <= 60'000; ++i) {
    const std::string key = "/k/" + std::to_string(random.below(8'000));
    // Grows first, shrinks in the end.
    const bool remove = random.below(60'000) < static_cast<std::uint64_t>(i);
    if (remove) {
      index.remove(key);
      model.keys.erase(key);
    } else {
      const bool erased = random.below(5) == 0;
      const Slot old = index.replace(slot(key, i, erased));
      const auto it = model.keys.find(key);
      REQUIRE((old.item ? old.item->modified : 0) ==
              (it == model.keys.end() ? 0 : it->second.first));
      model.keys[key] = {i, erased};
    }
    if (i % 3'000 == 0) {
      model.check(index, "", "");
      for (int j = 0; j < 20; ++j) {
        std::string from = "/k/" + std::to_string(random.below(9'000));
        std::string to = "/k/" + std::to_string(random.below(9'000));
        if (to < from) std::swap(from, to);
        model.check(index, from, to);
      }
    }
    if (i % 1'000 == 0) {
      const Slot* found = index.find(key);
      CHECK((found != nullptr) == model.keys.contains(key));
    }
  }
  for (const auto& [key, unused] : std::map(model.keys)) index.remove(key);
  CHECK(index.live() == 0);
  CHECK(index.find("/k/1") == nullptr);
}

TEST_CASE("index keeps keys that come in order, or in reverse") {
  for (const bool reverse : {false, true}) {
    Index index;
    Model model;
    for (int i = 0; i < 5'000; ++i) {
      std::string digits = std::to_string(10'000 + (reverse ? 5'000 - i : i));
      index.replace(slot(digits, i + 1));
      model.keys[digits] = {i + 1, false};
    }
    model.check(index, "", "");
    CHECK(index.live() == 5'000);
  }
}

}  // namespace skiff::store
