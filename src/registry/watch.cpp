// Watches: what the store tells of a range becomes what one client sees of a selection.
#include "conversion.hpp"
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "read.hpp"
#include "selection.hpp"

namespace skiff::registry {
namespace {

constexpr std::size_t kInitialChunk = 500;
constexpr std::string_view kInitialEventsEnd = "k8s.io/initial-events-end";

using Type = WatchEvent::Type;

class SelectingWatcher final : public Watcher {
 public:
  SelectingWatcher(const api::Resource& served, Selection selection,
                   std::unique_ptr<store::Watch> events, std::vector<ItemPtr> initial,
                   Revision known, bool bookmarks, bool mark_initial)
      : served_(served),
        selection_(std::move(selection)),
        events_(std::move(events)),
        initial_(std::move(initial)),
        known_(known),
        bookmarks_(bookmarks),
        mark_initial_(mark_initial) {}

  Task<Result<std::vector<WatchEvent>>> next() override {
    std::vector<WatchEvent> out;
    if (take_initial(out)) co_return out;
    while (true) {
      SKIFF_CO_TRY(std::vector<store::Event> events, co_await events_->next());
      for (const store::Event& e : events) translate(e, out);
      if (!out.empty()) co_return out;
    }
  }

  ItemPtr bookmark() override {
    const Revision progress = events_->progress();
    if (!bookmarks_ || next_initial_ < initial_.size() || progress <= known_) return nullptr;
    known_ = progress;
    return make_bookmark(false);
  }

 private:
  // The state the watch begins with, in portions.
  bool take_initial(std::vector<WatchEvent>& out) {
    while (next_initial_ < initial_.size() && out.size() < kInitialChunk) {
      out.push_back({Type::added, served_item(served_, initial_[next_initial_++])});
    }
    if (next_initial_ == initial_.size()) {
      initial_.clear();
      next_initial_ = 0;
      if (mark_initial_) out.push_back({Type::bookmark, make_bookmark(true)});
      mark_initial_ = false;
    }
    return !out.empty();
  }

  void translate(const store::Event& e, std::vector<WatchEvent>& out) {
    if (e.revision() <= known_) return;  // the client knows this already
    const bool before = e.previous && selection_.matches(*e.previous);
    const bool now = e.type == store::Event::Type::put && selection_.matches(*e.item);
    if (!before && !now) return;
    known_ = e.revision();
    if (now) {
      out.push_back({before ? Type::modified : Type::added, served_item(served_, e.item)});
      return;
    }
    ItemPtr last = e.item;
    if (e.type == store::Event::Type::put) {  // it left the selection
      last = make_item(e.item->key, with_revision(e.previous->value, e.revision()), e.item->created,
                       e.revision());
    }
    out.push_back({Type::deleted, served_item(served_, last)});
  }

  ItemPtr make_bookmark(bool initial_end) const {
    Value metadata = Value::object(
        {{"resourceVersion", std::to_string(known_)}, {"creationTimestamp", nullptr}});
    if (initial_end) {
      metadata.set("annotations", Value::object({{kInitialEventsEnd, "true"}}));
    }
    Value doc = Value::object({{"kind", served_.kind}});
    doc.set(
        "apiVersion",
        api::GroupVersion{std::string(served_.group), std::string(served_.version)}.to_string());
    doc.set("metadata", std::move(metadata));
    return make_item("", api::to_json(doc), 0, known_);
  }

  const api::Resource& served_;
  Selection selection_;
  std::unique_ptr<store::Watch> events_;
  std::vector<ItemPtr> initial_;
  std::size_t next_initial_ = 0;
  Revision known_;  // the client has seen everything up to here
  bool bookmarks_;
  bool mark_initial_;
};

Result<void> check_options(const WatchOptions& o) {
  const auto refuse = [](std::string field, std::string why) {
    api::FieldErrors errors;
    errors.forbidden(std::move(field), std::move(why));
    return errors.to_error("meta.k8s.io", "ListOptions", "");
  };
  const std::string& match = o.resource_version_match;
  if (o.send_initial_events) {
    if (match != "NotOlderThan") {
      return refuse("resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if (*o.send_initial_events && !o.bookmarks) {
      return refuse("allowWatchBookmarks",
                    "sendInitialEvents requires setting allowWatchBookmarks to true");
    }
  } else if (!match.empty()) {
    return refuse("resourceVersionMatch",
                  "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
                  "provided");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Watcher>> start_watch(Core& core, const Target& target,
                                             const WatchOptions& options) {
  const api::Resource& served = *target.resource;
  SKIFF_TRY(Selection selection,
            Selection::make(served, options.label_selector, options.field_selector));
  SKIFF_CHECK(check_options(options));
  SKIFF_TRY(const Revision asked, parse_revision(options.resource_version));
  const bool list_first = options.send_initial_events.value_or(asked == 0);

  store::WatchOptions wanted;
  wanted.range = selection.range(served, target.ns);
  wanted.attribute = selection.attribute();
  std::vector<ItemPtr> initial;
  Revision known = asked;
  const Revision newest = core.store.revision();
  if (list_first) {
    if (asked > newest) return errors::future_revision(asked, newest);
    SKIFF_TRY(store::Page page, core.store.range(wanted.range));
    known = page.revision;
    for (ItemPtr& item : page.items) {
      if (selection.everything() || selection.matches(*item)) initial.push_back(std::move(item));
    }
  } else if (asked == 0) {
    known = newest;
  }
  // A revision still to come is waited for: what happens before it is not told.
  wanted.after = std::min(known, newest);
  auto events = core.store.watch(std::move(wanted));
  if (!events) {
    if (events.error().code != Code::expired) return events.error();
    return errors::expired("too old resource version: " + std::to_string(asked) + " (" +
                           std::to_string(core.store.compacted()) + ")");
  }
  const bool mark = options.send_initial_events.value_or(false);
  return std::unique_ptr<Watcher>(
      std::make_unique<SelectingWatcher>(served, std::move(selection), std::move(*events),
                                         std::move(initial), known, options.bookmarks, mark));
}

}  // namespace skiff::registry
