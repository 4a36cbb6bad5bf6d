// The API as data: every kind's fields and every resource's routes as compact tables. Built-in
// kinds come from src/api/schema/*.schema, compiled at build time; custom kinds will compile to the
// same tables.
//
// Everything reachable from here is immutable after start and may be read from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "skiff/api/object.hpp"

namespace skiff::api {

struct Type;

enum class Kind : std::uint8_t {
  string,
  boolean,
  int32,
  int64,
  number,
  bytes,  // base64 in JSON
  quantity,
  int_or_string,
  time,
  micro_time,
  duration,
  object,  // a struct: Type::fields
  list,    // as an element (map[string][]string): a list of strings
  map,     // Field::element_kind
  any,     // any JSON value (JSON, RawExtension); objects in it have Field::type when that is set
};

enum class ListType : std::uint8_t { atomic, set, map };

// One field of a struct, with everything that decoding, defaulting, validation, patches, apply,
// OpenAPI and protobuf need. Strings live for the whole program.
struct Field {
  std::string_view name;             // JSON name
  Kind kind = Kind::string;          // of the field itself
  Kind element_kind = Kind::string;  // list and map: of the elements
  const Type* type = nullptr;        // kind or element_kind object: the struct
  bool required = false;     // must be present (validation), beyond what Go's decoder demands
  bool immutable = false;    // may not change after creation
  bool has_pointer = false;  // Go pointer: null and absent differ from zero
  bool always = false;       // encoded even when empty (Go: no omitempty)
  bool atomic = false;       // map or struct replaced whole by server-side apply
  std::uint16_t number = 0;  // protobuf field number; 0: not in protobuf
  // Go embeds some structs: their members are plain fields in JSON, but in protobuf sit in messages
  // of these numbers, outermost first; 0: none.
  std::uint8_t embedded_in[2] = {0, 0};
  ListType list_type = ListType::atomic;
  std::span<const std::string_view> list_keys;  // list-map keys (server-side apply)
  std::string_view merge_key;                   // strategic merge patch: patchMergeKey, "" if none
  bool merge = false;                           // patchStrategy contains merge
  bool retain_keys = false;                     // patchStrategy contains retainKeys
  std::span<const std::string_view> enums;      // allowed values; empty: any
  std::string_view format;        // validation format: "dns1123label", "dns1123subdomain",
                                  // "dns1035label", "qualifiedname", "labelvalue", "port", "ip",
                                  // "cidr"
  std::string_view default_json;  // default value as JSON; empty: none
  std::int64_t minimum = INT64_MIN;
  std::int64_t maximum = INT64_MAX;
  std::string_view description;  // one sentence of our own; may be empty
};

struct Type {
  std::string_view name;          // "io.k8s.api.core.v1.PodSpec": OpenAPI definition name
  std::span<const Field> fields;  // in the order they are encoded
  std::string_view description;
  bool atomic = false;  // server-side apply replaces values of this type whole
  const Field* field(std::string_view name) const noexcept;
};

enum Verb : std::uint16_t {
  kGet = 1,
  kList = 2,
  kWatch = 4,
  kCreate = 8,
  kUpdate = 16,
  kPatch = 32,
  kDelete = 64,
  kDeleteCollection = 128
};

struct Subresource {
  std::string_view name;   // "status"
  std::string_view group;  // of the kind it speaks, e.g. autoscaling
  std::string_view version;
  std::string_view kind;       // "Scale"
  const Type* type = nullptr;  // null where no document is exchanged (exec, proxy, ...)
  std::uint16_t verbs = 0;
};

struct Column {  // of a Table; values are computed in apiserver
  std::string_view name;
  std::string_view type;
  std::string_view format;
  std::string_view description;
  int priority = 0;
};

struct Resource {
  std::string_view group;
  std::string_view version;
  std::string_view plural;
  std::string_view singular;
  std::string_view kind;
  bool namespaced = false;
  std::span<const std::string_view> short_names;
  std::span<const std::string_view> categories;
  std::uint16_t verbs = 0;
  std::span<const Subresource> subresources;
  std::span<const Column> columns;
  const Type* type = nullptr;
  bool is_volatile = false;        // Lease, Event: logged lazily
  std::string_view storage_group;  // where it is kept when served under two groups (Event, HPA)
  std::string_view storage_version;
  const Subresource* subresource(std::string_view name) const noexcept;
  bool allows(Verb verb) const noexcept { return (verbs & verb) != 0; }
};

// Every resource, grouped by group-version in discovery order.
std::span<const Resource> resources();
const Resource* find_resource(std::string_view group, std::string_view version,
                              std::string_view plural);
const Resource* find_kind(std::string_view group, std::string_view version, std::string_view kind);
// By GroupResource, in the version objects are stored in.
const Resource* storage_resource(std::string_view group, std::string_view plural);
// The list of a kind: `PodList` of `Pod`. Null for kinds that are never listed.
const Type* list_type(const Resource& resource);
// Every struct type, for OpenAPI.
std::span<const Type* const> types();
const Type* find_type(std::string_view definition_name);

}  // namespace skiff::api
