// What sets one kind apart on the write road. Kinds without a row follow the defaults.
#pragma once

#include <optional>

#include "core.hpp"
#include "skiff/api/codec.hpp"

namespace skiff::registry {

struct Strategy {
  std::string_view group;
  std::string_view plural;

  // metadata.generation counts changes of everything but metadata and status.
  bool generation = false;
  // PUT on an absent object creates it.
  bool create_on_update = false;
  // PUT must name the resourceVersion it replaces.
  bool needs_revision = false;
  // DELETE answers with the object instead of a Status.
  bool returns_deleted = false;
  // Dependents are orphaned unless the caller says otherwise.
  bool orphans = false;
  // The garbage collector's finalizers mean nothing here (Events).
  bool collected = true;
  // What status a new object has, as JSON; empty: none is set and a given one is dropped if the
  // kind has a status subresource.
  std::string_view initial_status = "";
  // A new object keeps the status it came with (Node).
  bool keeps_status = false;

  // All hooks work on the stored form and run after decoding and defaulting, before validation.
  // The first two fill and keep what the server owns.
  Result<void> (*on_create)(Call&, Value& doc) = nullptr;
  Result<void> (*on_update)(Call&, Value& doc, const Value& old) = nullptr;
  void (*on_status)(Call&, Value& doc, const Value& old) = nullptr;
  // Admission: may change `doc`; `old` is null on create.
  Result<void> (*admit)(Call&, Value& doc, const Value* old) = nullptr;
  // Rules that need more than the document (the api room has the others).
  void (*check)(Call&, const Value& doc, const Value* old, api::FieldErrors& errors) = nullptr;
  // Seconds a deletion leaves; null: objects go at once.
  std::int64_t (*grace)(const Value& doc, std::optional<std::int64_t> asked) = nullptr;
  // May refuse a DELETE.
  Result<void> (*on_remove)(Call&, const Value& doc) = nullptr;
  // The object goes for good with this write.
  void (*on_erase)(Call&, const Value& last) = nullptr;
};

// By stored group and plural; a row of defaults for kinds that have none.
const Strategy& strategy_of(const api::Resource& stored);

// The hooks, by file.
namespace pods {
Result<void> on_create(Call& call, Value& doc);
Result<void> on_update(Call& call, Value& doc, const Value& old);
void on_status(Call& call, Value& doc, const Value& old);
Result<void> admit(Call& call, Value& doc, const Value* old);
std::int64_t grace(const Value& doc, std::optional<std::int64_t> asked);
std::string_view qos_class(const Value& pod);
}  // namespace pods

namespace services {
Result<void> on_create(Call& call, Value& doc);
Result<void> on_update(Call& call, Value& doc, const Value& old);
void on_erase(Call& call, const Value& last);
// Takes everything a stored Service holds; used to rebuild the allocator at start.
void adopt(Core& core, const Value& service);
void disown(Core& core, const Value& service);  // the reverse
// The same as names: "ip/10.96.0.7", "port/30080" (allocations.hpp).
std::vector<std::string> allocations(const Value& service);
}  // namespace services

namespace kinds {
Result<void> namespace_create(Call& call, Value& doc);
Result<void> namespace_update(Call& call, Value& doc, const Value& old);
Result<void> node_create(Call& call, Value& doc);
Result<void> node_update(Call& call, Value& doc, const Value& old);
Result<void> namespace_remove(Call& call, const Value& doc);
Result<void> secret_create(Call& call, Value& doc);
Result<void> secret_update(Call& call, Value& doc, const Value& old);
Result<void> csr_create(Call& call, Value& doc);
Result<void> csr_update(Call& call, Value& doc, const Value& old);
void csr_status(Call& call, Value& doc, const Value& old);
Result<void> job_create(Call& call, Value& doc);
void deployment_status(Call& call, Value& doc, const Value& old);
Result<void> priority_class_admit(Call& call, Value& doc, const Value* old);
Result<void> claim_admit(Call& call, Value& doc, const Value* old);
}  // namespace kinds

namespace admission {
Result<void> service_account(Call& call, Value& pod);
Result<void> priority(Call& call, Value& pod);
Result<void> runtime_class(Call& call, Value& pod);
void default_tolerations(Value& pod);
Result<void> limit_ranges(Call& call, Value& doc);
Result<void> namespace_usable(Core& core, const api::Resource& resource, std::string_view ns,
                              std::string_view name);
}  // namespace admission

}  // namespace skiff::registry
