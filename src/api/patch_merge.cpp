// JSON merge patch, RFC 7396.
#include "member_index.hpp"
#include "skiff/api/patch.hpp"

namespace skiff::api {
namespace {

// Recursion follows the patch, whose depth the parser bounds.
void merge(Value& target, const Value& patch) {
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (!target.is_object()) target = Value::object();
  MemberIndex members(target);
  for (const Member& m : patch.members()) {
    if (m.value.is_null()) {
      members.erase(m.name);
    } else {
      merge(members.member(m.name), m.value);
    }
  }
}

}  // namespace

void merge_patch(Value& doc, const Value& patch) { merge(doc, patch); }

}  // namespace skiff::api
