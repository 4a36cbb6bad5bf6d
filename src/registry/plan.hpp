// What a write will do, worked out in memory: everything on the write road but the commit.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core.hpp"
#include "skiff/registry/registry.hpp"
#include "strategy.hpp"

namespace skiff::registry {

struct Plan {
  // What to commit; the first is the object itself. Empty: nothing changes, `answer` is the answer.
  std::vector<store::Op> ops;
  ItemPtr answer;
  // How the committed item is shown (a Scale, a Status); null: as it is served.
  ItemPtr (*render)(const Target& target, const ItemPtr& item) = nullptr;
  // The document `ops[0]` was encoded from: what a lost race is computed anew from.
  Value document;
  bool created = false;
  bool removed = false;
  // The caller named the version he replaces: a lost race is his to settle.
  bool pinned = false;
  // The name was made up here: another one may be tried.
  bool generated = false;
  Reservations reservations;
};

using Write = Registry::Write;

// The keys a write must hold while it is planned and committed. None: it can only create.
std::vector<std::string> keys_to_lock(const Core& core, const Write& write);

// Works out `write`. On failure the plan's reservations still have to be settled. May consume
// write.document; put plan.document back before planning the same write again.
Result<void> make_plan(Core& core, Write& write, const WriteContext& context, Plan& plan);

// The parts, by file.
Result<void> plan_create(Core& core, Write& write, const WriteContext& context, Plan& plan);
Result<void> plan_update(Core& core, Write& write, const WriteContext& context, Plan& plan);
Result<void> plan_patch(Core& core, Write& write, const WriteContext& context, Plan& plan);
Result<void> plan_remove(Core& core, Write& write, const WriteContext& context, Plan& plan);
Result<void> plan_binding(Core& core, Write& write, const WriteContext& context, Plan& plan);
Result<void> plan_eviction(Core& core, Write& write, const WriteContext& context, Plan& plan);
Result<void> plan_token(Core& core, Write& write, const WriteContext& context, Plan& plan);
// `doc` is a decoded Scale that replaces what is seen of `item` now.
Result<void> plan_scale(Core& core, Write& write, Value doc, const ItemPtr& item, Plan& plan);

// Shared steps.

// Decodes `doc` as the target's kind: shape, unknown fields, kind and apiVersion, namespace.
Result<void> read_document(const Target& target, const api::Type& type, Value& doc,
                           const WriteContext& context, bool patched);
// The full check of a document in its stored form.
Result<void> check_document(Call& call, const Value& doc, const Value* old);
// Replaces `item` by `doc`, or takes it away when nothing holds a deleted object any more.
Result<void> replace(Call& call, const ItemPtr& item, Value doc, Plan& plan);
// Fails when `doc` names another version or identity than `item` has.
Result<void> check_version(const api::Resource& resource, Value& doc, const Value& old, Plan& plan);
// Marks `doc` deleted, or decides that it goes at once; the core of DELETE and of evictions.
Result<void> plan_deletion(Call& call, const ItemPtr& item, Value doc, const DeleteOptions& options,
                           Plan& plan);
// An update that takes only what `subresource` is for from `doc`.
Result<void> plan_subresource(Call& call, const ItemPtr& item, Value doc, Plan& plan);

store::Op put_op(const api::Resource& resource, std::string key, const Value& doc,
                 std::optional<Revision> expect);
store::Op erase_op(const api::Resource& resource, const store::Item& item, const Value& last);

// {"kind":"Status","status":"Success"}, for subresources that answer with nothing else.
ItemPtr success_status(const Target& target, const ItemPtr& item);

}  // namespace skiff::registry
