// What containers and pods ask for.
#include <array>

#include "skiff/api/quantity.hpp"
#include "validation.hpp"

namespace skiff::api {
namespace {

bool overcommits(std::string_view name) {
  return name.find('/') == std::string_view::npos && !name.starts_with("hugepages-");
}

bool is_native(std::string_view name) {
  return name.find('/') == std::string_view::npos ||
         name.find("kubernetes.io/") != std::string_view::npos;
}

void validate_amount(FieldErrors& errors, const Path& path, std::string_view name,
                     const Value& amount) {
  validate_quantity_not_negative(errors, path, amount);
  if (is_native(name) && overcommits(name)) return;
  auto q = Quantity::parse(amount.as_string());
  if (q && q->milli_value() % 1000 != 0) errors.invalid(path, amount, "must be an integer");
}

void validate_list(FieldErrors& errors, const Path& path, const Value& list) {
  for (const Member& m : list.members()) {
    Path here = key(path, m.name);
    validate_resource_name(errors, here, m.name);
    validate_amount(errors, here, m.name, m.value);
  }
}

bool has_hugepages(const Value& list) {
  for (const Member& m : list.members())
    if (m.name.starts_with("hugepages-")) return true;
  return false;
}

}  // namespace

void validate_quantity_not_negative(FieldErrors& errors, const Path& path, const Value& quantity) {
  auto q = Quantity::parse(quantity.as_string());
  if (q && q->negative()) errors.invalid(path, quantity, std::string(kNotNegative));
}

void validate_resource_name(FieldErrors& errors, const Path& path, std::string_view name) {
  static constexpr std::array<std::string_view, 4> kStandard = {"cpu", "memory",
                                                                "ephemeral-storage", "storage"};
  Complaints bad = label_key_errors(name);
  complain(errors, path, name, bad);
  if (!bad.empty() || name.find('/') != std::string_view::npos || name.starts_with("hugepages-"))
    return;
  for (std::string_view s : kStandard)
    if (s == name && name != "storage") return;
  errors.invalid(path, name,
                 name == "storage" ? "must be a standard resource for containers"
                                   : "must be a standard resource type or fully qualified");
}

void validate_resources(FieldErrors& errors, const Path& path, const Value& resources) {
  const Value& limits = resources["limits"];
  const Value& requests = resources["requests"];
  validate_list(errors, child(path, "limits"), limits);
  const Path requests_path = child(path, "requests");
  for (const Member& m : requests.members()) {
    Path here = key(requests_path, m.name);
    validate_resource_name(errors, here, m.name);
    validate_amount(errors, here, m.name, m.value);
    const Value* limit = limits.find(m.name);
    bool overcommit = overcommits(m.name);
    if (!limit) {
      if (!overcommit)
        errors.required(child(path, "limits"),
                        "Limit must be set for non overcommitable resources");
      continue;
    }
    auto asked = Quantity::parse(m.value.as_string());
    auto most = Quantity::parse(limit->as_string());
    if (!asked || !most) continue;
    std::string of = std::string(m.name) + " limit of " + most->to_string();
    if (!overcommit && *asked != *most)
      errors.invalid(requests_path, m.value, "must be equal to " + of);
    else if (overcommit && *asked > *most)
      errors.invalid(requests_path, m.value, "must be less than or equal to " + of);
  }
  bool huge = has_hugepages(limits) || has_hugepages(requests);
  bool plain =
      limits.has("cpu") || limits.has("memory") || requests.has("cpu") || requests.has("memory");
  if (huge && !plain) errors.forbidden(path, "HugePages require cpu or memory");
}

}  // namespace skiff::api
