#include "skiff/registry/direct_client.hpp"

#include "errors.hpp"

namespace skiff::registry {
namespace {

Result<Target> target_of(const client::Ref& ref) {
  const api::Resource* resource = api::find_resource(ref.group, ref.version, ref.resource);
  if (!resource) {
    return Error{Code::not_found, "the server could not find the requested resource (" + ref.group +
                                      "/" + ref.version + " " + ref.resource + ")"};
  }
  return Target{resource, resource->namespaced ? ref.ns : "", ref.name, ref.subresource};
}

Result<ObjectPtr> shown(Result<Written> written) {
  if (!written) return written.error();
  return object_of(written->item);
}

DeleteOptions options_of(client::DeleteOptions o) {
  return {o.grace_period_seconds, std::move(o.propagation_policy), std::move(o.uid),
          std::move(o.resource_version)};
}

class DirectWatch final : public client::WatchStream {
 public:
  explicit DirectWatch(std::unique_ptr<Watcher> watcher) : watcher_(std::move(watcher)) {}

  Task<Result<std::vector<client::WatchEvent>>> next() override {
    SKIFF_CO_TRY(const std::vector<WatchEvent> events, co_await watcher_->next());
    std::vector<client::WatchEvent> out;
    out.reserve(events.size());
    for (const WatchEvent& e : events) {
      // Both enumerations list added, modified, deleted, bookmark.
      out.push_back({static_cast<client::WatchEvent::Type>(e.type), object_of(e.item)});
    }
    co_return out;
  }

 private:
  std::unique_ptr<Watcher> watcher_;
};

}  // namespace

DirectClient::DirectClient(Registry& registry, std::string user) : registry_(registry) {
  User who;
  who.name = std::move(user);
  who.groups = {"system:masters", "system:authenticated"};
  user_ = std::make_shared<const User>(std::move(who));
}

WriteContext DirectClient::context(bool dry_run, std::string manager) const {
  WriteContext c;
  c.user = user_;
  c.manager = std::move(manager);
  c.dry_run = dry_run;
  return c;
}

Task<Result<ObjectPtr>> DirectClient::get(client::Ref ref) {
  SKIFF_CO_TRY(const Target target, target_of(ref));
  const auto item = co_await registry_.fetch(target, ReadOptions());
  if (!item) co_return item.error();
  co_return object_of(*item);
}

Task<Result<client::List>> DirectClient::list(client::Ref ref, client::ListOptions options) {
  SKIFF_CO_TRY(const Target target, target_of(ref));
  ReadOptions wanted;
  wanted.resource_version = std::move(options.resource_version);
  wanted.resource_version_match = std::move(options.resource_version_match);
  wanted.label_selector = std::move(options.label_selector);
  wanted.field_selector = std::move(options.field_selector);
  wanted.limit = options.limit;
  wanted.continue_token = std::move(options.continue_token);
  SKIFF_CO_TRY(const Listing listing, co_await registry_.fetch_list(target, std::move(wanted)));
  client::List out;
  out.items.reserve(listing.items.size());
  for (const ItemPtr& item : listing.items) out.items.push_back(object_of(item));
  out.resource_version = std::to_string(listing.revision);
  out.continue_token = listing.continue_token;
  out.remaining = listing.remaining.value_or(0);
  co_return out;
}

Task<Result<std::unique_ptr<client::WatchStream>>> DirectClient::watch(
    client::Ref ref, client::ListOptions options) {
  SKIFF_CO_TRY(const Target target, target_of(ref));
  WatchOptions wanted;
  wanted.resource_version = std::move(options.resource_version);
  wanted.label_selector = std::move(options.label_selector);
  wanted.field_selector = std::move(options.field_selector);
  // In process a watcher that falls behind lists again from memory: bookmarks would only wake it.
  wanted.bookmarks = false;
  SKIFF_CO_TRY(std::unique_ptr<Watcher> watcher, registry_.watch(target, wanted));
  co_return std::unique_ptr<client::WatchStream>(std::make_unique<DirectWatch>(std::move(watcher)));
}

Task<Result<ObjectPtr>> DirectClient::create(client::Ref ref, Value object,
                                             client::WriteOptions options) {
  SKIFF_CO_TRY(Target target, target_of(ref));
  WriteContext c = context(options.dry_run, std::move(options.field_manager));
  co_return shown(co_await registry_.create(std::move(target), std::move(object), std::move(c)));
}

Task<Result<ObjectPtr>> DirectClient::update(client::Ref ref, Value object,
                                             client::WriteOptions options) {
  if (ref.name.empty()) ref.name = object["metadata"]["name"].as_string();
  if (ref.ns.empty()) ref.ns = object["metadata"]["namespace"].as_string();
  SKIFF_CO_TRY(Target target, target_of(ref));
  WriteContext c = context(options.dry_run, std::move(options.field_manager));
  co_return shown(co_await registry_.update(std::move(target), std::move(object), std::move(c)));
}

Task<Result<ObjectPtr>> DirectClient::patch(client::Ref ref, api::PatchType type, Value patch,
                                            client::WriteOptions options) {
  SKIFF_CO_TRY(Target target, target_of(ref));
  WriteContext c = context(options.dry_run, std::move(options.field_manager));
  co_return shown(
      co_await registry_.patch(std::move(target), type, std::move(patch), std::move(c)));
}

Task<Result<ObjectPtr>> DirectClient::remove(client::Ref ref, client::DeleteOptions options) {
  SKIFF_CO_TRY(Target target, target_of(ref));
  WriteContext c = context(options.dry_run);
  DeleteOptions wanted = options_of(std::move(options));
  co_return shown(co_await registry_.remove(std::move(target), std::move(wanted), std::move(c)));
}

Task<std::vector<Result<ObjectPtr>>> DirectClient::batch(std::vector<client::Write> writes) {
  std::vector<Result<ObjectPtr>> results(writes.size(), Error{Code::internal, "not written"});
  std::vector<Registry::Write> wanted;
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    client::Write& w = writes[i];
    if (w.type == client::Write::Type::update) {
      if (w.ref.name.empty()) w.ref.name = w.object["metadata"]["name"].as_string();
      if (w.ref.ns.empty()) w.ref.ns = w.object["metadata"]["namespace"].as_string();
    }
    auto target = target_of(w.ref);
    if (!target) {
      results[i] = target.error();
      continue;
    }
    Registry::Write out;
    out.type = static_cast<Registry::Write::Type>(w.type);  // create, update, patch, remove
    out.target = std::move(*target);
    out.document = std::move(w.object);
    out.patch_type = w.patch_type;
    out.delete_options = options_of(std::move(w.delete_options));
    wanted.push_back(std::move(out));
    indices.push_back(i);
  }
  WriteContext c = context(false);
  auto verdicts = co_await registry_.batch(std::move(wanted), std::move(c));
  for (std::size_t i = 0; i < indices.size(); ++i) {
    results[indices[i]] = shown(std::move(verdicts[i]));
  }
  co_return results;
}

}  // namespace skiff::registry
