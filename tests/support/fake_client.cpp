#include "support/fake_client.hpp"

#include "skiff/api/schema.hpp"
#include "skiff/api/selector.hpp"
#include "skiff/client/reflector.hpp"

namespace skiff::test {

using client::DeleteOptions;
using client::ListOptions;
using client::WatchEvent;
using client::Write;

namespace {

struct Filter {
  std::string ns;
  api::LabelSelector labels;
  api::FieldSelector fields;

  bool matches(const api::Object& o) const {
    return (ns.empty() || o.ns() == ns) && labels.matches(o.labels()) && fields.matches(o.root());
  }
};

Result<Filter> filter_for(const Ref& ref, const ListOptions& options) {
  Filter filter;
  filter.ns = ref.ns;
  if (!options.label_selector.empty()) {
    SKIFF_TRY(filter.labels, api::LabelSelector::parse(options.label_selector));
  }
  SKIFF_TRY(filter.fields, api::FieldSelector::parse(options.field_selector));
  return filter;
}

Error missing(const Ref& ref) {
  return {Code::not_found, ref.resource + " \"" + ref.name + "\" not found"};
}

bool has_finalizers(const Value& object) {
  return !object["metadata"]["finalizers"].empty() || !object["spec"]["finalizers"].empty();
}

// A pod that a kubelet still has to stop.
bool graceful(const Ref& ref, const Value& object) {
  const std::string& phase = object["status"]["phase"].as_string();
  return ref.resource == "pods" && !object["spec"]["nodeName"].as_string().empty() &&
         phase != "Succeeded" && phase != "Failed";
}

void add_finalizer(Value& meta, std::string_view name) {
  for (const Value& f : meta["finalizers"].items()) {
    if (f.as_string() == name) return;
  }
  meta.member("finalizers").push_back(name);
}

}  // namespace

struct FakeClient::Stream final : client::WatchStream {
  Stream(FakeClient* o, std::string t, Filter f)
      : owner(o), type(std::move(t)), filter(std::move(f)), changed(o->env_.executor) {
    owner->streams_.push_back(this);
  }
  ~Stream() override {
    if (owner != nullptr) owner->streams_.remove(this);
  }

  void offer(const Event& e) {
    if (e.type_key != type) return;
    const bool now = filter.matches(*e.event.object) && e.event.type != WatchEvent::Type::deleted;
    const bool before = e.previous && filter.matches(*e.previous);
    if (!now && !before) return;
    WatchEvent out = e.event;
    if (now) out.type = before ? WatchEvent::Type::modified : WatchEvent::Type::added;
    if (!now) out.type = WatchEvent::Type::deleted;
    pending.push_back(std::move(out));
    changed.notify_all();
  }

  Task<Result<std::vector<WatchEvent>>> next() override {
    while (pending.empty() && !broken) co_await changed.wait();
    if (!pending.empty()) co_return std::exchange(pending, {});
    co_return *broken;
  }

  FakeClient* owner;
  std::string type;
  Filter filter;
  Signal changed;
  std::vector<WatchEvent> pending;
  std::optional<Error> broken;
};

FakeClient::FakeClient(Env env) : env_(env) {}
FakeClient::~FakeClient() {
  for (Stream* stream : streams_) stream->owner = nullptr;
}

void FakeClient::publish(const Ref& ref, WatchEvent::Type type, ObjectPtr object,
                         ObjectPtr previous) {
  Event event{{type, std::move(object), revision}, std::move(previous), type_key(ref)};
  for (Stream* stream : streams_) stream->offer(event);
  history_.push_back(std::move(event));
}

Result<ObjectPtr> FakeClient::store(const Ref& ref, Value object, ObjectPtr previous) {
  ++revision;
  ++writes;
  object.member("metadata").set("resourceVersion", std::to_string(revision));
  ObjectPtr stored = api::Object::make(std::move(object));
  objects_[type_key(ref)][stored->key()] = stored;
  const auto type = previous ? WatchEvent::Type::modified : WatchEvent::Type::added;
  publish(ref, type, stored, std::move(previous));
  return stored;
}

ObjectPtr FakeClient::erase(const Ref& ref, const ObjectPtr& object) {
  ++revision;
  ++writes;
  Value last = object->root();
  last.member("metadata").set("resourceVersion", std::to_string(revision));
  ObjectPtr gone = api::Object::make(std::move(last));
  objects_[type_key(ref)].erase(object->key());
  publish(ref, WatchEvent::Type::deleted, gone, object);
  return gone;
}

ObjectPtr FakeClient::find(const Ref& ref) const {
  const auto type = objects_.find(type_key(ref));
  if (type == objects_.end()) return nullptr;
  const auto it = type->second.find({ref.ns, ref.name});
  return it == type->second.end() ? nullptr : it->second;
}

Result<ObjectPtr> FakeClient::current(const Ref& ref) const {
  ObjectPtr found = find(ref);
  if (!found) return missing(ref);
  return found;
}

std::vector<ObjectPtr> FakeClient::all(const Ref& ref) const {
  std::vector<ObjectPtr> out;
  const auto type = objects_.find(type_key(ref));
  if (type == objects_.end()) return out;
  for (const auto& [key, object] : type->second) {
    if (ref.ns.empty() || key.ns == ref.ns) out.push_back(object);
  }
  return out;
}

Result<ObjectPtr> FakeClient::bind(const Ref& ref, const Value& binding) {
  SKIFF_TRY(ObjectPtr pod, current(ref));
  if (!(*pod)["spec"]["nodeName"].as_string().empty()) {
    return Error{Code::conflict, "pod " + ref.name + " is already assigned to a node"};
  }
  Value next = pod->root();
  next.member("spec").set("nodeName", binding["target"]["name"]);
  Value scheduled = Value::object({{"type", "PodScheduled"}, {"status", "True"}});
  next.member("status").set("conditions", Value::array({std::move(scheduled)}));
  return store(ref, std::move(next), pod);
}

Result<ObjectPtr> FakeClient::create_now(const Ref& ref, Value object) {
  if (refuse) {
    if (auto error = refuse("create", ref)) return *error;
  }
  if (ref.subresource == "binding") return bind(ref, object);
  Value& meta = object.member("metadata");
  if (!ref.ns.empty()) meta.set("namespace", ref.ns);
  if (meta["name"].as_string().empty()) {
    meta.set("name", meta["generateName"].as_string() + env_.random->name_suffix(5));
  }
  const Ref at = ref.at(meta["namespace"].as_string(), meta["name"].as_string());
  if (find(at)) {
    return Error{Code::already_exists, ref.resource + " \"" + at.name + "\" already exists"};
  }
  if (meta["uid"].is_null()) meta.set("uid", env_.random->uuid());
  if (meta["creationTimestamp"].is_null()) {
    meta.set("creationTimestamp", format_time(env_.clock->wall()));
  }
  if (object.has("spec")) meta.set("generation", 1);
  return store(at, std::move(object), nullptr);
}

// An update of everything or of a subresource, with the API server's side effects.
Result<ObjectPtr> FakeClient::replace(const Ref& ref, Value object, const ObjectPtr& old) {
  const std::string& expected = object["metadata"]["resourceVersion"].as_string();
  if (!expected.empty() && expected != old->resource_version()) {
    return Error{Code::conflict, "Operation cannot be fulfilled on " + ref.resource + " \"" +
                                     ref.name + "\": the object has been modified"};
  }
  Value next = old->root();
  if (ref.subresource == "status") {
    next.set("status", object["status"]);
  } else if (ref.subresource == "finalize") {
    next.member("spec").set("finalizers", object["spec"]["finalizers"]);
  } else {
    next = std::move(object);
    Value& meta = next.member("metadata");
    for (const char* field : {"uid", "creationTimestamp", "deletionTimestamp", "generation",
                              "deletionGracePeriodSeconds"}) {
      if (const Value* kept = old->metadata().find(field)) meta.set(field, *kept);
    }
    if (!(next["spec"] == (*old)["spec"])) meta.set("generation", old->generation() + 1);
    if (const Value* status = old->root().find("status")) next.set("status", *status);
  }
  if (next == old->root()) return old;
  if (old->deleting() && !has_finalizers(next) &&
      next["metadata"]["deletionGracePeriodSeconds"].as_int() == 0) {
    return erase(ref, api::Object::make(std::move(next)));
  }
  return store(ref, std::move(next), old);
}

Result<ObjectPtr> FakeClient::update_now(const Ref& ref, Value object) {
  if (refuse) {
    if (auto error = refuse("update", ref)) return *error;
  }
  Ref at = ref;
  if (at.name.empty())
    at = at.at(object["metadata"]["namespace"].as_string(), object["metadata"]["name"].as_string());
  SKIFF_TRY(ObjectPtr old, current(at));
  return replace(at, std::move(object), old);
}

Result<ObjectPtr> FakeClient::patch_now(const Ref& ref, const Value& patch) {
  if (refuse) {
    if (auto error = refuse("patch", ref)) return *error;
  }
  SKIFF_TRY(ObjectPtr old, current(ref));
  const std::string& uid = patch["metadata"]["uid"].as_string();
  if (!uid.empty() && uid != old->uid()) return Error{Code::conflict, "uid mismatch"};
  Value next = old->root();
  next.member("metadata").erase("resourceVersion");
  api::merge_patch(next, patch);
  return replace(ref, std::move(next), old);
}

Result<ObjectPtr> FakeClient::remove_now(const Ref& ref, DeleteOptions options) {
  if (refuse) {
    if (auto error = refuse("remove", ref)) return *error;
  }
  SKIFF_TRY(ObjectPtr old, current(ref));
  if (!options.uid.empty() && options.uid != old->uid()) {
    return Error{Code::conflict, "the UID in the precondition does not match"};
  }
  if (!options.resource_version.empty() && options.resource_version != old->resource_version()) {
    return Error{Code::conflict, "the resourceVersion in the precondition does not match"};
  }
  Value next = old->root();
  Value& meta = next.member("metadata");
  if (options.propagation_policy == "Foreground") add_finalizer(meta, "foregroundDeletion");
  if (options.propagation_policy == "Orphan") add_finalizer(meta, "orphan");
  const std::int64_t grace = graceful(ref, next)
                                 ? options.grace_period_seconds.value_or(
                                       next["spec"]["terminationGracePeriodSeconds"].as_int(30))
                                 : 0;
  if (!has_finalizers(next) && grace == 0) return erase(ref, old);
  if (!old->deleting()) {
    meta.set("deletionTimestamp", format_time(env_.clock->wall() + std::chrono::seconds(grace)));
  }
  meta.set("deletionGracePeriodSeconds", grace);
  if (ref.resource == "namespaces") next.member("status").set("phase", "Terminating");
  if (next == old->root()) return old;
  return store(ref, std::move(next), old);
}

Result<ObjectPtr> FakeClient::write_now(Write write) {
  switch (write.type) {
    case Write::Type::create:
      return create_now(write.ref, std::move(write.object));
    case Write::Type::update:
      return update_now(write.ref, std::move(write.object));
    case Write::Type::remove:
      return remove_now(write.ref, std::move(write.delete_options));
    case Write::Type::patch:
      break;
  }
  if (write.patch_type == api::PatchType::merge) return patch_now(write.ref, write.object);
  SKIFF_TRY(ObjectPtr old, current(write.ref));
  Value next = old->root();
  const api::Resource* resource =
      api::find_resource(write.ref.group, write.ref.version, write.ref.resource);
  if (write.patch_type == api::PatchType::json) {
    SKIFF_CHECK(api::json_patch(next, write.object));
  } else if (write.patch_type == api::PatchType::strategic && resource != nullptr) {
    SKIFF_CHECK(api::strategic_merge_patch(*resource->type, next, write.object));
  } else {
    return Error{Code::unsupported_media, "the fake client does not speak this patch"};
  }
  return update_now(write.ref, std::move(next));
}

Task<Result<ObjectPtr>> FakeClient::get(Ref ref) {
  co_await yield();
  co_return current(ref);
}

Task<Result<client::List>> FakeClient::list(Ref ref, ListOptions options) {
  co_await yield();
  ++lists;
  SKIFF_CO_TRY(const Filter filter, filter_for(ref, options));
  client::List out;
  for (ObjectPtr& object : all(ref)) {
    if (filter.matches(*object)) out.items.push_back(std::move(object));
  }
  out.resource_version = std::to_string(revision);
  co_return out;
}

Task<Result<std::unique_ptr<client::WatchStream>>> FakeClient::watch(Ref ref, ListOptions options) {
  co_await yield();
  SKIFF_CO_TRY(const Filter filter, filter_for(ref, options));
  const std::int64_t after = client::parse_revision(options.resource_version);
  if (after < forgotten_) co_return Error{Code::expired, "too old resource version"};
  auto stream = std::make_unique<Stream>(this, type_key(ref), filter);
  for (const Event& event : history_) {
    if (event.event.revision > after) stream->offer(event);
  }
  co_return std::unique_ptr<client::WatchStream>(std::move(stream));
}

Task<Result<ObjectPtr>> FakeClient::create(Ref ref, Value object, client::WriteOptions) {
  co_await yield();
  co_return create_now(ref, std::move(object));
}

Task<Result<ObjectPtr>> FakeClient::update(Ref ref, Value object, client::WriteOptions) {
  co_await yield();
  co_return update_now(ref, std::move(object));
}

Task<Result<ObjectPtr>> FakeClient::patch(Ref ref, api::PatchType type, Value patch,
                                          client::WriteOptions) {
  co_await yield();
  Write write;
  write.type = Write::Type::patch;
  write.ref = std::move(ref);
  write.object = std::move(patch);
  write.patch_type = type;
  co_return write_now(std::move(write));
}

Task<Result<ObjectPtr>> FakeClient::remove(Ref ref, DeleteOptions options) {
  co_await yield();
  co_return remove_now(ref, std::move(options));
}

Task<std::vector<Result<ObjectPtr>>> FakeClient::batch(std::vector<Write> writes) {
  co_await yield();
  ++batches;
  std::vector<Result<ObjectPtr>> out;
  out.reserve(writes.size());
  for (Write& write : writes) out.push_back(write_now(std::move(write)));
  co_return out;
}

void FakeClient::break_watches(Error error, bool forget_history) {
  if (forget_history) {
    history_.clear();
    forgotten_ = revision;
  }
  for (Stream* stream : streams_) {
    stream->broken = error;
    stream->changed.notify_all();
  }
}

}  // namespace skiff::test
