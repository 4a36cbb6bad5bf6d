// The three patches (RFC 6902, RFC 7396, strategic merge) as pure functions on documents, and how
// clients compute patches from documents.
#pragma once

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {

enum class PatchType : std::uint8_t { json, merge, strategic, apply };

// Every function leaves `doc` as it was when it fails. Code::invalid (422) when an operation cannot
// be carried out, bad_request when the patch is malformed.

// At most 10,000 operations (too_large beyond), and "copy" may add 3 MB, as upstream.
Result<void> json_patch(Value& doc, const Value& operations);

void merge_patch(Value& doc, const Value& patch);

// Lists merge by Field::merge_key where Field::merge says so. Directives: $patch (replace, merge,
// delete), $retainKeys, $setElementOrder/x, $deleteFromPrimitiveList/x. Source: Kubernetes'
// strategic merge patch and its design "preserve order in strategic merge patch".
Result<void> strategic_merge_patch(const Type& type, Value& doc, const Value& patch);

// The strategic patch that makes `modified` of `original`. An empty object: nothing to do.
Result<Value> create_two_way(const Type& type, const Value& original, const Value& modified);
// What `kubectl apply` sends: deletions from `original` (last applied) to `modified`, additions and
// changes from `current` (live) to `modified`. Fields that others own stay untouched.
Result<Value> strategic_three_way(const Type& type, const Value& original, const Value& modified,
                                  const Value& current);

// The same as merge patches, for kinds without a schema.
Value create_merge_patch(const Value& original, const Value& modified);
Value merge_three_way(const Value& original, const Value& modified, const Value& current);

}  // namespace skiff::api
