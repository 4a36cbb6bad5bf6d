#include "seccomp_json.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

#if defined(__x86_64__)
constexpr std::string_view native_arch = "amd64";
constexpr std::string_view native_scmp = "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
constexpr std::string_view native_arch = "arm64";
constexpr std::string_view native_scmp = "SCMP_ARCH_AARCH64";
#else
constexpr std::string_view native_arch = "other";
constexpr std::string_view native_scmp = "";
#endif

Value strings(const std::vector<std::string>& list) {
  Value out = Value::array();
  for (const auto& s : list) out.push_back(s);
  return out;
}

std::vector<std::string> strings(const Value& list) {
  std::vector<std::string> out;
  for (const auto& item : list.items()) out.push_back(item.as_string());
  return out;
}

// An includes or excludes object: whether it says anything about us, and whether that holds.
struct Condition {
  bool any_matches = false;
  bool all_match = true;
};

Condition evaluate(const Value& condition, sys::CapabilitySet capabilities) {
  Condition c;
  auto note = [&c](bool holds) {
    c.any_matches |= holds;
    c.all_match &= holds;
  };
  for (const auto& cap : condition["caps"].items()) {
    auto number = sys::capability_number(cap.as_string());
    note(number && ((capabilities >> static_cast<unsigned>(*number)) & 1U) != 0);
  }
  if (condition["arches"].size() > 0) {
    auto arches = strings(condition["arches"]);
    note(std::find(arches.begin(), arches.end(), native_arch) != arches.end());
  }
  // "minKernel" is older than any kernel skiff runs on.
  return c;
}

std::uint64_t unsigned_of(const Value& v) {
  return v.is_int() ? static_cast<std::uint64_t>(v.as_int())
                    : static_cast<std::uint64_t>(v.as_double());
}

std::optional<unsigned> optional_errno(const Value& v) {
  if (!v.is_int()) return std::nullopt;
  return static_cast<unsigned>(v.as_int());
}

sys::SeccompRule parse_rule(const Value& item) {
  sys::SeccompRule rule;
  rule.names = strings(item["names"]);
  if (item["name"].is_string()) rule.names.push_back(item["name"].as_string());
  rule.action = item["action"].as_string();
  rule.errno_ret = optional_errno(item["errnoRet"]);
  for (const auto& a : item["args"].items()) {
    sys::SeccompArg arg;
    arg.index = static_cast<unsigned>(a["index"].as_int());
    arg.value = unsigned_of(a["value"]);
    arg.value_two = unsigned_of(a["valueTwo"]);
    arg.op = a["op"].as_string();
    rule.args.push_back(std::move(arg));
  }
  return rule;
}

}  // namespace

Value seccomp_to_json(const sys::SeccompProfile& profile) {
  Value out = Value::object();
  out.set("defaultAction", profile.default_action);
  if (profile.default_errno_ret) out.set("defaultErrnoRet", *profile.default_errno_ret);
  std::vector<std::string> architectures = {std::string(native_scmp)};
  for (const auto& a : profile.architectures) architectures.push_back(a);
  out.set("architectures", strings(architectures));
  Value& rules = out.set("syscalls", Value::array());
  for (const auto& rule : profile.rules) {
    Value& item = rules.push_back(Value::object());
    item.set("names", strings(rule.names));
    item.set("action", rule.action);
    if (rule.errno_ret) item.set("errnoRet", *rule.errno_ret);
    if (rule.args.empty()) continue;
    Value& args = item.set("args", Value::array());
    for (const auto& a : rule.args) {
      Value& arg = args.push_back(Value::object());
      arg.set("index", a.index);
      arg.set("value", static_cast<std::int64_t>(a.value));
      if (a.value_two) arg.set("valueTwo", static_cast<std::int64_t>(a.value_two));
      arg.set("op", a.op);
    }
  }
  return out;
}

Result<sys::SeccompProfile> seccomp_from_json(const Value& json, sys::CapabilitySet capabilities) {
  sys::SeccompProfile profile;
  profile.default_action = json["defaultAction"].as_string();
  if (profile.default_action.empty()) {
    return Error{Code::invalid, "seccomp profile: \"defaultAction\" is missing"};
  }
  profile.default_errno_ret = optional_errno(json["defaultErrnoRet"]);
  profile.architectures = strings(json["architectures"]);
  for (const auto& entry : json["archMap"].items()) {
    if (entry["architecture"].as_string() != native_scmp) continue;
    for (auto& a : strings(entry["subArchitectures"])) profile.architectures.push_back(a);
  }
  for (const auto& item : json["syscalls"].items()) {
    if (!item["includes"].empty() && !evaluate(item["includes"], capabilities).all_match) continue;
    if (!item["excludes"].empty() && evaluate(item["excludes"], capabilities).any_matches) continue;
    profile.rules.push_back(parse_rule(item));
  }
  return profile;
}

}  // namespace skiff::runtime
