// Who changed what and when: the store's records as changes of objects.
#include <deque>
#include <map>

#include "conversion.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "read.hpp"

namespace skiff::registry {
namespace {

constexpr std::size_t kChunk = 500;

// One kind's part of an answer.
struct Part {
  const api::Resource* resource;
  store::Range range;
};

std::vector<Part> parts_of(const Target& target) {
  std::vector<Part> parts;
  if (target.resource) {
    parts.push_back({target.resource,
                     target.name.empty()
                         ? keys::range(*target.resource, target.ns)
                         : store::Range::key(keys::of(*target.resource, target.ns, target.name))});
    return parts;
  }
  for (const api::Resource& r : api::resources()) {
    // What is stored under another name is told under that one; volatile kinds are all noise.
    if (!r.namespaced || r.is_volatile || keys::converts(r) || !r.allows(api::kList)) continue;
    parts.push_back({&r, keys::range(r, target.ns)});
  }
  return parts;
}

Change change_of(const api::Resource& resource, const store::Record& record) {
  Change c;
  c.verb = record.erase           ? Change::Verb::deleted
           : record.previous == 0 ? Change::Verb::created
                                  : Change::Verb::modified;
  c.revision = record.item->modified;
  c.time = record.time;
  if (record.author) c.author = *record.author;
  c.resource = &resource;
  c.item = record.item;
  return c;
}

// The newest `limit` changes of `part`, oldest first.
Task<Result<void>> gather(Core* core, Part part, HistoryOptions options, std::deque<Change>* out) {
  while (true) {
    SKIFF_CO_TRY(const std::vector<store::Record> records,
                 co_await core->store.history(part.range, options.after, options.until, kChunk));
    for (const store::Record& r : records) {
      out->push_back(change_of(*part.resource, r));
      if (options.limit != 0 && out->size() > options.limit) out->pop_front();
    }
    if (records.size() < kChunk) co_return Result<void>();
    options.after = records.back().item->modified;
  }
}

// Every change's `previous`: the change before it in this answer, else what was there then.
Task<void> find_previous(Core* core, std::vector<Change>* changes) {
  std::map<std::string, ItemPtr, std::less<>> last;
  for (Change& c : *changes) {
    const std::string key = c.item->key;
    const auto known = last.find(key);
    if (known != last.end()) {
      c.previous = known->second;
    } else if (c.verb != Change::Verb::created) {
      const Result<ItemPtr> before = co_await core->store.get_at(key, c.revision - 1);
      if (before) c.previous = *before;
    }
    last[key] = c.verb == Change::Verb::deleted ? nullptr : c.item;
  }
}

}  // namespace

Task<Result<History>> read_history(Core* core, Target target, HistoryOptions options) {
  History out;
  out.revision = core->store.revision();
  if (options.until == 0 || options.until > out.revision) options.until = out.revision;
  options.after = std::max(options.after, core->store.compacted());
  out.compacted = core->store.compacted();
  for (const Part& part : parts_of(target)) {
    std::deque<Change> found;
    SKIFF_CO_CHECK(co_await gather(core, part, options, &found));
    std::move(found.begin(), found.end(), std::back_inserter(out.changes));
  }
  std::sort(out.changes.begin(), out.changes.end(),
            [](const Change& a, const Change& b) { return a.revision < b.revision; });
  if (options.limit != 0 && out.changes.size() > options.limit) {
    out.changes.erase(out.changes.begin(),
                      out.changes.end() - static_cast<std::ptrdiff_t>(options.limit));
  }
  co_await find_previous(core, &out.changes);
  if (out.changes.empty() && !target.name.empty()) {
    const auto item = core->store.get(keys::of(*target.resource, target.ns, target.name));
    if (item) {
      Change kept;
      kept.verb = Change::Verb::kept;
      kept.revision = (*item)->modified;
      kept.resource = target.resource;
      kept.item = *item;
      out.changes.push_back(std::move(kept));
    }
  }
  for (Change& c : out.changes) {
    c.item = served_item(*c.resource, c.item);
    if (c.previous) c.previous = served_item(*c.resource, c.previous);
  }
  co_return out;
}

}  // namespace skiff::registry
