// Small readings of API objects that several controllers share. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/object.hpp"
#include "skiff/base/clock.hpp"

namespace skiff::controllers {

using api::ObjectPtr;
using api::Value;

// The entry of status.conditions of this type; null when there is none.
const Value& condition(const Value& status, std::string_view type);

// Sets a condition. What says the same already is left alone; lastTransitionTime only moves when
// the status does. True when something changed.
bool set_condition(Value& status, Value condition);
bool erase_condition(Value& status, std::string_view type);
Value make_condition(std::string_view type, std::string_view status, std::string_view reason,
                     std::string_view message, WallTime now);

std::optional<WallTime> time_of(const Value& text);
WallTime created_at(const api::Object& object);

// Pods.
bool pod_finished(const Value& pod);     // Succeeded or Failed
bool pod_active(const Value& pod);       // neither finished nor being deleted
bool pod_terminating(const Value& pod);  // being deleted, not finished
bool pod_ready(const Value& pod);
std::optional<WallTime> pod_ready_since(const Value& pod);
// Ready for at least `min_ready`. When not yet, but ready: how long it still takes, in `wait`.
bool pod_available(const Value& pod, Duration min_ready, WallTime now,
                   std::optional<Duration>* wait = nullptr);

// An owner reference with controller and blockOwnerDeletion set.
Value controller_reference(const api::Object& owner);
bool controlled_by(const Value& object, std::string_view uid);

// An IntOrString of which percentages are of `total`; null gives `fallback`. Text that is neither a
// number nor a percentage counts as 0, as upstream's resolving does after validation.
std::int64_t int_or_percent(const Value& value, std::int64_t total, bool round_up,
                            std::int64_t fallback);

// A stable hash of a pod template, in the alphabet of generated names: FNV-1a over its canonical
// JSON, and over `collisions` where a name was already taken.
std::string template_hash(const Value& pod_template, std::optional<std::int64_t> collisions);
// JSON with members sorted and nulls left out.
void append_canonical_json(std::string& out, const Value& value);

// Whether the refusal says that the namespace is being deleted: nothing to try again.
bool namespace_terminating(const Error& error);

// A decimal number, or nothing.
std::optional<std::int64_t> to_int(std::string_view text);

}  // namespace skiff::controllers
