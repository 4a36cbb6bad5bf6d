// Immutable API objects: encoded once, shared by every reader.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "skiff/api/value.hpp"

namespace skiff::api {

struct GroupVersion {
  std::string group;  // "" for core
  std::string version;
  auto operator<=>(const GroupVersion&) const = default;
  std::string to_string() const { return group.empty() ? version : group + "/" + version; }
  static Result<GroupVersion> parse(std::string_view api_version);
};

struct GroupResource {
  std::string group;
  std::string resource;  // plural, lower case
  auto operator<=>(const GroupResource&) const = default;
};

// Where an object lives: "default/web", or "node-1" for cluster-scoped ones.
struct NamespacedName {
  std::string ns;
  std::string name;
  auto operator<=>(const NamespacedName&) const = default;
  std::string to_string() const { return ns.empty() ? name : ns + "/" + name; }
};

class Object;
using ObjectPtr = std::shared_ptr<const Object>;

// Holds JSON bytes (kept alive by `owner`) and, once somebody asks, the document parsed from them.
// The first root() on an object parses; it belongs to the loop like everything else.
class Object {
 public:
  // `json` must be a valid object document that stays alive with `owner`.
  static ObjectPtr wrap(std::shared_ptr<const void> owner, std::string_view json);
  // Encodes `root`.
  static ObjectPtr make(Value root);

  std::string_view json() const noexcept { return json_; }
  const Value& root() const;
  const Value& operator[](std::string_view key) const { return root()[key]; }

  // metadata, read through root().
  const Value& metadata() const { return root()["metadata"]; }
  const std::string& api_version() const { return root()["apiVersion"].as_string(); }
  const std::string& kind() const { return root()["kind"].as_string(); }
  const std::string& name() const { return metadata()["name"].as_string(); }
  const std::string& ns() const { return metadata()["namespace"].as_string(); }
  const std::string& uid() const { return metadata()["uid"].as_string(); }
  const std::string& resource_version() const { return metadata()["resourceVersion"].as_string(); }
  std::int64_t generation() const { return metadata()["generation"].as_int(); }
  bool deleting() const { return !metadata()["deletionTimestamp"].is_null(); }
  const Value& labels() const { return metadata()["labels"]; }
  const Value& annotations() const { return metadata()["annotations"]; }
  NamespacedName key() const { return {ns(), name()}; }

 private:
  Object(std::shared_ptr<const void> owner, std::string_view json) noexcept
      : owner_(std::move(owner)), json_(json) {}
  std::shared_ptr<const void> owner_;
  std::string_view json_;
  mutable std::optional<Value> root_;
};

// The owner reference with controller=true, or null.
const Value* controller_of(const Value& object);

}  // namespace skiff::api
