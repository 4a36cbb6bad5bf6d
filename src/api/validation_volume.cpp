// Volumes of pods.
#include <set>

#include "skiff/api/quantity.hpp"
#include "validation.hpp"

namespace skiff::api {
namespace {

constexpr std::int64_t kMaxMode = 0777;
constexpr std::int64_t kMinTokenSeconds = 600;
constexpr std::int64_t kMaxTokenSeconds = std::int64_t{1} << 32U;

void validate_mode(FieldErrors& errors, const Path& path, const Value& mode) {
  if (mode.is_null() || (mode.as_int() >= 0 && mode.as_int() <= kMaxMode)) return;
  errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
}

void validate_items(FieldErrors& errors, const Path& path, const Value& items) {
  std::size_t index = 0;
  for (const Value& item : items.items()) {
    Path here = at(path, index++);
    check_relative_path(errors, child(here, "path"), item["path"]);
    validate_mode(errors, child(here, "mode"), item["mode"]);
  }
}

void validate_downward_items(FieldErrors& errors, const Path& path, const Value& items) {
  std::size_t index = 0;
  for (const Value& item : items.items()) {
    Path here = at(path, index++);
    check_relative_path(errors, child(here, "path"), item["path"]);
    const Value& field = item["fieldRef"];
    const Value& resource = item["resourceFieldRef"];
    if (field.is_object()) {
      validate_field_ref(errors, child(here, "fieldRef"), field, true);
      if (resource.is_object())
        errors.invalid(here, "resource",
                       "fieldRef and resourceFieldRef can not be specified simultaneously");
    } else if (resource.is_object()) {
      validate_resource_field_ref(errors, child(here, "resourceFieldRef"), resource, true);
    } else {
      errors.required(here, "one of fieldRef and resourceFieldRef is required");
    }
    validate_mode(errors, child(here, "mode"), item["mode"]);
  }
}

void validate_token(FieldErrors& errors, const Path& path, const Value& token) {
  const Value& seconds = token["expirationSeconds"];
  const Path here = child(path, "expirationSeconds");
  if (seconds.as_int(kMinTokenSeconds) < kMinTokenSeconds)
    errors.invalid(here, seconds, "may not specify a duration less than 10 minutes");
  if (seconds.as_int() > kMaxTokenSeconds)
    errors.invalid(here, seconds, "may not specify a duration larger than 2^32 seconds");
  check_relative_path(errors, child(path, "path"), token["path"]);
}

void validate_projected(FieldErrors& errors, const Path& path, const Value& projected) {
  validate_mode(errors, child(path, "defaultMode"), projected["defaultMode"]);
  std::size_t index = 0;
  for (const Value& source : projected["sources"].items()) {
    Path here = at(child(path, "sources"), index++);
    std::size_t count = 0;
    for (const Member& m : source.members()) {
      if (!m.value.is_object()) continue;
      const Path inner = child(here, m.name);
      if (++count > 1) {
        errors.forbidden(inner, "may not specify more than 1 volume type");
        continue;
      }
      if (m.name == "secret" || m.name == "configMap") {
        if (m.value["name"].as_string().empty()) errors.required(child(inner, "name"));
        validate_items(errors, child(inner, "items"), m.value["items"]);
      } else if (m.name == "downwardAPI") {
        validate_downward_items(errors, child(inner, "items"), m.value["items"]);
      } else if (m.name == "serviceAccountToken") {
        validate_token(errors, inner, m.value);
      }
    }
    if (count == 0) errors.required(here, "must specify a volume type");
  }
}

void validate_empty_dir(FieldErrors& errors, const Path& path, const Value& source) {
  auto size = Quantity::parse(source["sizeLimit"].as_string_or("0"));
  if (size && size->negative())
    errors.forbidden(child(path, "sizeLimit"), "SizeLimit field must be a valid resource quantity");
}

void validate_parent_free(FieldErrors& errors, const Path& path, const Value& text) {
  if (text.as_string() == ".." || text.as_string().find("../") != std::string::npos ||
      text.as_string().ends_with("/.."))
    errors.invalid(path, text, "must not contain '..'");
}

void validate_source(FieldErrors& errors, const Path& path, std::string_view name,
                     const Value& source) {
  if (name == "emptyDir") return validate_empty_dir(errors, path, source);
  if (name == "hostPath") return validate_parent_free(errors, child(path, "path"), source["path"]);
  if (name == "projected") return validate_projected(errors, path, source);
  if (name == "secret" || name == "configMap") {
    const char* ref = name == "secret" ? "secretName" : "name";
    if (source[ref].as_string().empty()) errors.required(child(path, ref));
    validate_mode(errors, child(path, "defaultMode"), source["defaultMode"]);
    return validate_items(errors, child(path, "items"), source["items"]);
  }
  if (name == "downwardAPI") {
    validate_mode(errors, child(path, "defaultMode"), source["defaultMode"]);
    return validate_downward_items(errors, child(path, "items"), source["items"]);
  }
  if (name == "nfs" && !source["path"].as_string().empty() &&
      !source["path"].as_string().starts_with('/'))
    errors.invalid(child(path, "path"), source["path"], "must be an absolute path");
  if (name == "ephemeral") {
    const Value& claim = source["volumeClaimTemplate"];
    const Path here = child(path, "volumeClaimTemplate");
    if (!claim.is_object()) return errors.required(here);
    validate_claim_spec(errors, child(here, "spec"), claim["spec"]);
  }
}

}  // namespace

void validate_volumes(FieldErrors& errors, const Path& path, const Value& volumes) {
  std::set<std::string_view> names;
  std::size_t index = 0;
  for (const Value& volume : volumes.items()) {
    Path here = at(path, index++);
    std::size_t count = 0;
    for (const Member& m : volume.members()) {
      if (m.name == "name") continue;
      if (++count > 1) {
        errors.forbidden(child(here, m.name), "may not specify more than 1 volume type");
      } else {
        validate_source(errors, child(here, m.name), m.name, m.value);
      }
    }
    if (count == 0) errors.required(here, "must specify a volume type");
    std::string_view name = volume["name"].as_string();
    if (!name.empty() && !names.insert(name).second)
      errors.duplicate(child(here, "name"), volume["name"]);
  }
}

}  // namespace skiff::api
