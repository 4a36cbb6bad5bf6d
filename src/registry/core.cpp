#include "core.hpp"

#include "keys.hpp"

namespace skiff::registry {

store::Author Authors::of(const WriteContext& context) {
  std::string name = context.user ? context.user->name : std::string();
  if (!context.manager.empty()) name += '/' + context.manager;
  const auto found = known_.find(name);
  if (found != known_.end()) return found->second;
  if (known_.size() >= kMost) known_.clear();
  auto author = std::make_shared<const std::string>(name);
  known_.emplace(std::move(name), author);
  return author;
}

ItemPtr Core::find(std::string_view group, std::string_view plural, std::string_view ns,
                   std::string_view name) const {
  auto found = store.get(keys::of(group, plural, ns, name));
  return found ? std::move(*found) : nullptr;
}

std::vector<ItemPtr> Core::all(std::string_view group, std::string_view plural,
                               std::string_view ns) const {
  auto page = store.range(store::Range::prefix(keys::of(group, plural, ns, "")));
  return page ? std::move(page->items) : std::vector<ItemPtr>();
}

}  // namespace skiff::registry
