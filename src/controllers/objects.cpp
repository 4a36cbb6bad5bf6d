#include "objects.hpp"

#include <charconv>

namespace skiff::controllers {
namespace {

const Value kNull;

}  // namespace

const Value& condition(const Value& status, std::string_view type) {
  for (const Value& c : status["conditions"].items()) {
    if (c["type"].as_string() == type) return c;
  }
  return kNull;
}

bool set_condition(Value& status, Value wanted) {
  const std::string type = wanted["type"].as_string();
  for (Value& c : status.member("conditions").mutable_items()) {
    if (c["type"].as_string() != type) continue;
    if (c["status"] == wanted["status"]) {
      if (c["reason"] == wanted["reason"] && c["message"] == wanted["message"]) return false;
      if (c.has("lastTransitionTime")) {
        wanted.set("lastTransitionTime", c["lastTransitionTime"]);
      }
    }
    c = std::move(wanted);
    return true;
  }
  status.member("conditions").push_back(std::move(wanted));
  return true;
}

bool erase_condition(Value& status, std::string_view type) {
  if (condition(status, type).is_null()) return false;
  auto& all = status.member("conditions").mutable_items();
  std::erase_if(all, [&](const Value& c) { return c["type"].as_string() == type; });
  if (all.empty()) status.erase("conditions");
  return true;
}

Value make_condition(std::string_view type, std::string_view status, std::string_view reason,
                     std::string_view message, WallTime now) {
  return Value::object({{"type", type},
                        {"status", status},
                        {"lastTransitionTime", format_time(now)},
                        {"reason", reason},
                        {"message", message}});
}

std::optional<WallTime> time_of(const Value& text) {
  if (!text.is_string()) return std::nullopt;
  const auto parsed = parse_time(text.as_string());
  if (!parsed) return std::nullopt;
  return *parsed;
}

WallTime created_at(const api::Object& object) {
  return time_of(object.metadata()["creationTimestamp"]).value_or(WallTime{});
}

bool pod_finished(const Value& pod) {
  const std::string& phase = pod["status"]["phase"].as_string();
  return phase == "Succeeded" || phase == "Failed";
}

bool pod_active(const Value& pod) {
  return !pod_finished(pod) && pod["metadata"]["deletionTimestamp"].is_null();
}

bool pod_terminating(const Value& pod) {
  return !pod_finished(pod) && !pod["metadata"]["deletionTimestamp"].is_null();
}

bool pod_ready(const Value& pod) {
  return condition(pod["status"], "Ready")["status"].as_string() == "True";
}

std::optional<WallTime> pod_ready_since(const Value& pod) {
  const Value& ready = condition(pod["status"], "Ready");
  if (ready["status"].as_string() != "True") return std::nullopt;
  return time_of(ready["lastTransitionTime"]);
}

bool pod_available(const Value& pod, Duration min_ready, WallTime now,
                   std::optional<Duration>* wait) {
  if (!pod_ready(pod)) return false;
  if (min_ready <= Duration{}) return true;
  const std::optional<WallTime> since = pod_ready_since(pod);
  if (!since) return false;
  const Duration left = *since + min_ready - now;
  if (left <= Duration{}) return true;
  if (wait != nullptr && (!*wait || left < **wait)) *wait = left;
  return false;
}

Value controller_reference(const api::Object& owner) {
  return Value::object({{"apiVersion", owner.api_version()},
                        {"kind", owner.kind()},
                        {"name", owner.name()},
                        {"uid", owner.uid()},
                        {"controller", true},
                        {"blockOwnerDeletion", true}});
}

bool controlled_by(const Value& object, std::string_view uid) {
  const Value* owner = api::controller_of(object);
  return owner != nullptr && (*owner)["uid"].as_string() == uid;
}

std::optional<std::int64_t> to_int(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::int64_t int_or_percent(const Value& value, std::int64_t total, bool round_up,
                            std::int64_t fallback) {
  if (value.is_null()) return fallback;
  if (value.is_int()) return value.as_int();
  const std::string& text = value.as_string();
  if (!text.ends_with('%')) return to_int(text).value_or(0);
  const std::int64_t percent =
      to_int(std::string_view(text).substr(0, text.size() - 1)).value_or(0);
  const std::int64_t scaled = percent * total;
  return round_up ? (scaled + 99) / 100 : scaled / 100;
}

void append_canonical_json(std::string& out, const Value& value) {
  if (value.is_array()) {
    out += '[';
    for (const Value& item : value.items()) {
      append_canonical_json(out, item);
      out += ',';
    }
    out += ']';
    return;
  }
  if (!value.is_object()) return api::append_json(out, value);
  std::vector<const api::Member*> members;
  for (const api::Member& m : value.members()) {
    if (!m.value.is_null()) members.push_back(&m);
  }
  std::ranges::sort(members, {}, [](const api::Member* m) -> std::string_view { return m->name; });
  out += '{';
  for (const api::Member* m : members) {
    out += '"';
    out += m->name;
    out += "\":";
    append_canonical_json(out, m->value);
    out += ',';
  }
  out += '}';
}

std::string template_hash(const Value& pod_template, std::optional<std::int64_t> collisions) {
  std::string text;
  append_canonical_json(text, pod_template);
  if (collisions) text += "#" + std::to_string(*collisions);
  std::uint32_t hash = 2166136261U;
  for (const char c : text) {
    hash ^= static_cast<std::uint8_t>(c);
    hash *= 16777619U;
  }
  static constexpr std::string_view kSafe = "bcdfghjklmnpqrstvwxz2456789";
  std::string encoded = std::to_string(hash);
  for (char& c : encoded) c = kSafe[static_cast<std::uint8_t>(c) % kSafe.size()];
  return encoded;
}

bool namespace_terminating(const Error& error) {
  if (error.code != Code::forbidden || !error.details) return false;
  return std::ranges::any_of(error.details->causes,
                             [](const Cause& c) { return c.reason == "NamespaceTerminating"; });
}

}  // namespace skiff::controllers
