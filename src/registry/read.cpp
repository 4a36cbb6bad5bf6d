#include "read.hpp"

#include "continue_token.hpp"
#include "conversion.hpp"
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "selection.hpp"
#include "skiff/api/selector.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::registry {
namespace {

// While a selector is at work, a page of the answer may need many pages of the store.
constexpr std::size_t kScanChunk = 2000;

constexpr std::string_view kStaleContinue =
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list.";

Error bad_options(std::string_view field, const Value& value, std::string_view why) {
  api::FieldErrors errors;
  if (value.is_null()) {
    errors.forbidden(std::string(field), std::string(why));
  } else {
    errors.not_supported(std::string(field), value, {"Exact", "NotOlderThan"});
  }
  return errors.to_error("meta.k8s.io", "ListOptions", "");
}

Error too_old() { return errors::expired("The resourceVersion for the provided list is too old."); }

// Where in the store's history a list reads.
struct ReadPoint {
  Revision at = 0;  // 0: newest
  std::string after;
  std::int64_t remaining = -1;
  bool continued = false;
};

Result<void> check_match(const ReadOptions& o) {
  const std::string& match = o.resource_version_match;
  if (match.empty()) return {};
  if (o.resource_version.empty()) {
    return bad_options("resourceVersionMatch", nullptr,
                       "resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (!o.continue_token.empty()) {
    return bad_options("resourceVersionMatch", nullptr,
                       "resourceVersionMatch is forbidden when continue is provided");
  }
  if (match != "Exact" && match != "NotOlderThan") {
    return bad_options("resourceVersionMatch", match, "");
  }
  if (match == "Exact" && o.resource_version == "0") {
    return bad_options("resourceVersionMatch", nullptr,
                       "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
  }
  return {};
}

Error stale_continue(const ContinueToken& token) {
  const ContinueToken next{-1, token.after, -1};
  auto details = std::make_shared<ErrorDetails>();
  details->causes.push_back({"Continue", next.encode(), "metadata.continue"});
  return {Code::expired, std::string(kStaleContinue), std::move(details)};
}

Result<ReadPoint> find_point(const Core& core, const ReadOptions& o) {
  SKIFF_CHECK(check_match(o));
  ReadPoint point;
  if (!o.continue_token.empty()) {
    if (!o.resource_version.empty() && o.resource_version != "0") {
      return errors::bad_request("specifying resource version is not allowed when using continue");
    }
    SKIFF_TRY(ContinueToken token, ContinueToken::decode(o.continue_token));
    if (token.revision > 0 && token.revision < core.store.compacted()) {
      return stale_continue(token);
    }
    point.at = std::max<Revision>(token.revision, 0);
    point.after = std::move(token.after);
    point.remaining = token.remaining;
    point.continued = true;
    return point;
  }
  SKIFF_TRY(const Revision asked, parse_revision(o.resource_version));
  const Revision newest = core.store.revision();
  if (asked > newest) return errors::future_revision(asked, newest);
  const bool exact = o.resource_version_match == "Exact" ||
                     (o.resource_version_match.empty() && o.limit > 0 && asked > 0);
  if (exact) {
    if (asked < core.store.compacted()) return too_old();
    point.at = asked;
  }
  return point;
}

// Fills `out` with what matches until `limit` (0: no limit); says whether keys may remain.
Result<bool> gather(const Core& core, const Selection& selection, store::Range range,
                    std::size_t limit, Revision at, Listing& out, std::size_t& left) {
  const bool everything = selection.everything();
  while (true) {
    const std::size_t chunk = limit == 0 ? 0 : everything ? limit : std::max(limit, kScanChunk);
    SKIFF_TRY(store::Page page, core.store.range(range, chunk, at));
    out.revision = page.revision;
    at = page.revision;  // later chunks read the same state
    if (everything) {
      out.items = std::move(page.items);
      left = page.remaining;
      return page.more;
    }
    for (std::size_t i = 0; i < page.items.size(); ++i) {
      if (!selection.matches(*page.items[i])) continue;
      out.items.push_back(std::move(page.items[i]));
      if (limit != 0 && out.items.size() == limit) return page.more || i + 1 < page.items.size();
    }
    if (!page.more) return false;
    range.begin = page.items.back()->key + '\0';
  }
}

// The same from the log's history.
Task<Result<bool>> gather_history(const Core* core, const Selection* selection, store::Range range,
                                  std::size_t limit, Revision at, Listing* out) {
  const std::size_t chunk = limit == 0 ? kScanChunk : selection->everything() ? limit : kScanChunk;
  out->revision = at;
  while (true) {
    SKIFF_CO_TRY(store::Page page, co_await core->store.range_at(range, chunk, at));
    for (std::size_t i = 0; i < page.items.size(); ++i) {
      if (!selection->matches(*page.items[i])) continue;
      out->items.push_back(page.items[i]);
      if (limit != 0 && out->items.size() == limit) {
        co_return page.more || i + 1 < page.items.size();
      }
    }
    if (!page.more || page.items.empty()) co_return false;
    range.begin = page.items.back()->key + '\0';
  }
}

Result<ItemPtr> shown(const Target& target, const Result<ItemPtr>& item) {
  if (!item) {
    if (item.error().code != Code::not_found) return item.error();
    return errors::not_found(*target.resource, target.name);
  }
  if (target.subresource == "scale") return scale_of(*target.resource, *item);
  return served_item(*target.resource, *item);
}

}  // namespace

Result<Revision> parse_revision(std::string_view text) {
  if (text.empty()) return Revision{0};
  Revision value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    const std::string quoted = '"' + std::string(text) + '"';
    return errors::bad_request("resourceVersion: Invalid value: " + quoted +
                               ": strconv.ParseUint: parsing " + quoted + ": invalid syntax");
  }
  return value;
}

Result<ItemPtr> read_one(const Core& core, const Target& target, const ReadOptions& options) {
  SKIFF_TRY(const Revision asked, parse_revision(options.resource_version));
  if (asked > core.store.revision()) {
    return errors::future_revision(asked, core.store.revision());
  }
  return shown(target, core.store.get(keys::of(*target.resource, target.ns, target.name)));
}

Task<Result<ItemPtr>> read_one_at(const Core* core, Target target, ReadOptions options) {
  options.limit = 0;
  options.continue_token.clear();
  SKIFF_CO_CHECK(check_match(options));
  if (options.resource_version_match != "Exact") co_return read_one(*core, target, options);
  SKIFF_CO_TRY(const ReadPoint point, find_point(*core, options));
  auto item =
      co_await core->store.get_at(keys::of(*target.resource, target.ns, target.name), point.at);
  if (!item && item.error().code == Code::expired) co_return too_old();
  co_return shown(target, item);
}

namespace {

// A list on its way: what is read, and from where.
struct Reading {
  Selection selection;
  ReadPoint point;
  store::Range range;
  std::string prefix;
  std::size_t limit = 0;
  Listing out;
  std::size_t left = 0;  // keys beyond the limit, where the store counts them
};

Result<Reading> begin_list(const Core& core, const Target& target, const ReadOptions& options) {
  const api::Resource& served = *target.resource;
  SKIFF_TRY(Selection selection,
            Selection::make(served, options.label_selector, options.field_selector));
  SKIFF_TRY(ReadPoint point, find_point(core, options));
  if (options.limit < 0) return errors::bad_request("limit must not be negative");
  store::Range range = selection.range(served, target.ns);
  std::string prefix = keys::collection(served);
  if (point.continued) {
    // A token may come from a list of another namespace: it never widens the range.
    const std::string from = prefix + point.after + '\0';
    if (from > range.begin) range.begin = from;
  }
  return Reading{std::move(selection),
                 std::move(point),
                 std::move(range),
                 std::move(prefix),
                 static_cast<std::size_t>(options.limit),
                 {},
                 0};
}

Result<Listing> finish_list(const api::Resource& served, Reading& r, const Result<bool>& more) {
  if (!more) {
    if (more.error().code != Code::expired) return more.error();
    if (r.point.continued) return stale_continue({r.point.at, r.point.after, -1});
    return too_old();
  }
  Listing& out = r.out;
  if (*more && !out.items.empty()) {
    ContinueToken token{out.revision, out.items.back()->key.substr(r.prefix.size()), -1};
    if (r.selection.everything()) {
      // An older revision is not counted by the store; the first page's count serves the rest.
      const auto shown = static_cast<std::int64_t>(out.items.size());
      token.remaining = r.left > 0 ? static_cast<std::int64_t>(r.left) : r.point.remaining - shown;
      if (token.remaining > 0) out.remaining = token.remaining;
    }
    out.continue_token = token.encode();
  }
  if (keys::converts(served)) {
    for (ItemPtr& item : out.items) item = served_item(served, item);
  }
  return std::move(out);
}

}  // namespace

Result<Listing> read_list(const Core& core, const Target& target, const ReadOptions& options) {
  SKIFF_TRY(Reading r, begin_list(core, target, options));
  const auto more = gather(core, r.selection, r.range, r.limit, r.point.at, r.out, r.left);
  return finish_list(*target.resource, r, more);
}

Task<Result<Listing>> read_list_at(const Core* core, Target target, ReadOptions options) {
  SKIFF_CO_TRY(Reading r, begin_list(*core, target, options));
  Result<bool> more = false;
  if (r.point.at == 0 || r.point.at >= core->store.window()) {
    more = gather(*core, r.selection, r.range, r.limit, r.point.at, r.out, r.left);
  } else {
    more = co_await gather_history(core, &r.selection, r.range, r.limit, r.point.at, &r.out);
  }
  co_return finish_list(*target.resource, r, more);
}

Task<Result<void>> catch_up(Core* core, std::string resource_version,
                            std::vector<std::string>* warnings) {
  if (!resource_version.empty()) {
    // A number that is no number is refused by who reads.
    const auto asked = parse_revision(resource_version);
    if (!asked || *asked <= core->store.revision()) co_return Result<void>();
  }
  const Result<Revision> reached = co_await core->store.barrier();
  if (reached) co_return Result<void>();
  if (reached.error().code != Code::unavailable) co_return reached.error();
  if (warnings) {
    warnings->emplace_back(
        "this may be stale: the server that answered reaches no quorum of the cluster's servers");
  }
  co_return Result<void>();
}

ItemPtr scale_of(const api::Resource& resource, const ItemPtr& item) {
  const ObjectPtr object = object_of(item);
  const Value& from = object->root();
  Value metadata = Value::object();
  for (const std::string_view name :
       {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}) {
    if (const Value* v = from["metadata"].find(name)) metadata.set(name, *v);
  }
  std::string selector;
  if (resource.plural == "replicationcontrollers") {
    selector = api::LabelSelector::from_map(from["spec"]["selector"]).to_string();
  } else if (const auto parsed = api::LabelSelector::from(from["spec"]["selector"])) {
    selector = parsed->to_string();
  }
  Value spec = Value::object();
  if (const std::int64_t replicas = from["spec"]["replicas"].as_int(); replicas != 0) {
    spec.set("replicas", replicas);
  }
  Value status = Value::object({{"replicas", from["status"]["replicas"].as_int()}});
  if (!selector.empty()) status.set("selector", std::move(selector));
  Value scale = Value::object({{"kind", "Scale"}, {"apiVersion", "autoscaling/v1"}});
  scale.set("metadata", std::move(metadata));
  scale.set("spec", std::move(spec));
  scale.set("status", std::move(status));
  return make_item(item->key, api::to_json(scale), item->created, item->modified);
}

}  // namespace skiff::registry
