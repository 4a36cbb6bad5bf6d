// The three patches (RFC 6902, RFC 7396, strategic merge) as pure functions on documents.
#pragma once

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::api {

enum class PatchType : std::uint8_t { json, merge, strategic, apply };

// Code::invalid (422) when an operation cannot be carried out, bad_request when the patch is
// malformed. At most 10,000 operations, as upstream.
Result<void> json_patch(Value& doc, const Value& operations);
void merge_patch(Value& doc, const Value& patch);
// Directives $patch (replace, merge, delete), $retainKeys, $setElementOrder/x,
// $deleteFromPrimitiveList/x.
Result<void> strategic_merge_patch(const Type& type, Value& doc, const Value& patch);

}  // namespace skiff::api
