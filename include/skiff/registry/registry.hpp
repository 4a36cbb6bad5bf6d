// The one road of every write, and the reads beside it: between the API's callers (the HTTP server,
// DirectClient) and the store.
//
// A write is resolved, patched, decoded, defaulted, admitted, validated and committed with
// compare-and-swap. All of that but the commit happens in memory in one turn of the loop: writes to
// one object queue behind each other, so what a write was computed from is what it replaces. Reads
// hand out the stored bytes; nothing is parsed unless the served version differs from the stored
// one.
//
// Semantics follow "API Concepts" and "API Conventions" of the Kubernetes documentation; errors are
// worded as upstream words them. Everything runs on env.executor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/api/object.hpp"
#include "skiff/api/patch.hpp"
#include "skiff/api/schema.hpp"
#include "skiff/base/env.hpp"
#include "skiff/store/store.hpp"

namespace skiff::registry {

using api::ObjectPtr;
using api::Value;
using store::ItemPtr;
using store::Revision;

// Who asks (authentication.k8s.io UserInfo).
struct User {
  std::string name;
  std::string uid;
  std::vector<std::string> groups;
  std::vector<std::pair<std::string, std::vector<std::string>>> extra;
};

using UserPtr = std::shared_ptr<const User>;

// What is asked for. `resource` is the resource as served (its group and version decide the form of
// what is returned); it points into the schema and lives for ever.
struct Target {
  const api::Resource* resource = nullptr;
  std::string ns;           // "" for cluster-scoped resources, or all namespaces in list and watch
  std::string name;         // "" in list, watch and create
  std::string subresource;  // "" or e.g. "status"
};

enum class FieldValidation : std::uint8_t { ignore, warn, strict };

struct WriteContext {
  UserPtr user;  // null: nobody
  // What the user writes with: the field manager, "" if not known. History shows both.
  std::string manager;
  bool dry_run = false;
  FieldValidation field_validation = FieldValidation::ignore;
  // Complaints of whoever parsed the body (`duplicate field "spec.paused"`): refused or warned of
  // as unknown fields are.
  std::vector<std::string> duplicate_fields;
  // Where warnings for the client go (HTTP header Warning); may be null. Must outlive the call.
  std::vector<std::string>* warnings = nullptr;
};

struct DeleteOptions {
  std::optional<std::int64_t> grace_period_seconds;
  std::string propagation_policy;  // "", Orphan, Background, Foreground
  std::string uid;                 // preconditions; "" for none
  std::string resource_version;
};
// Reads a meta/v1 DeleteOptions document (also with the deprecated orphanDependents).
Result<DeleteOptions> parse_delete_options(const Value& document);

struct ReadOptions {
  std::string resource_version;
  std::string resource_version_match;
  std::string label_selector;
  std::string field_selector;
  std::int64_t limit = 0;
  std::string continue_token;
};

struct WatchOptions {
  std::string resource_version;
  std::string resource_version_match;
  std::string label_selector;
  std::string field_selector;
  std::optional<bool> send_initial_events;
  bool bookmarks = false;
};

// A committed (or, on a dry run, merely computed) write.
struct Written {
  ItemPtr item;          // in the served version; of a removed object its last state
  bool created = false;  // PUT and POST answer 201
  bool removed = false;  // the object is gone, not merely marked
  bool brief = false;    // DELETE answers with a Status about the object, not with the object
};

struct Listing {
  std::vector<ItemPtr> items;  // in the served version
  Revision revision = 0;
  std::string continue_token;
  std::optional<std::int64_t> remaining;
};

// One change of one object, as history tells it.
struct Change {
  enum class Verb : std::uint8_t {
    created,
    modified,
    deleted,
    kept,  // it was there before everything that is kept of history, and has not changed since
  };
  Verb verb = Verb::modified;
  Revision revision = 0;
  WallTime time{};     // zero when not known
  std::string author;  // "USER/FIELD-MANAGER" or "USER"; "" when not known
  const api::Resource* resource = nullptr;
  ItemPtr item;      // after the change; of a deleted object its last state
  ItemPtr previous;  // before it; null for created, and when it is no longer kept
};

struct HistoryOptions {
  std::size_t limit = 0;  // only the newest so many; 0: all
  Revision after = 0;     // changes after this revision; below the oldest that is kept: from there
  Revision until = 0;     // 0: now
};

struct History {
  std::vector<Change> changes;  // oldest first
  Revision revision = 0;        // newest of the store
  Revision compacted = 0;       // changes up to this one are no longer told
};

struct WatchEvent {
  enum class Type : std::uint8_t { added, modified, deleted, bookmark };
  Type type = Type::added;
  ItemPtr item;  // in the served version
};

// A filtered watch: objects that begin or cease to match a selector appear and vanish.
class Watcher {
 public:
  virtual ~Watcher() = default;
  // At least one event, oldest first. expired: list again; the watch is over. Throws
  // operation_aborted when the waiting task is cancelled; the watcher stays usable then.
  virtual Task<Result<std::vector<WatchEvent>>> next() = 0;
  // A bookmark for now, or null when the client knows as much already (or asked for none).
  virtual ItemPtr bookmark() = 0;
};

// What is asked of the token issuer for serviceaccounts/token and the kubelet's projected volumes.
struct ServiceAccountClaims {
  std::string ns;
  std::string name;
  std::string uid;
  std::string bound_kind;  // "Pod", "Secret", "Node" or ""
  std::string bound_name;
  std::string bound_uid;
  std::string node_name;  // of a bound pod that is scheduled; "" otherwise
  std::string node_uid;
  std::vector<std::string> audiences;  // empty: the issuer's own
  std::int64_t expiration_seconds = 3600;
};
struct IssuedToken {
  std::string token;
  std::vector<std::string> audiences;
  WallTime expires;
};
class TokenIssuer {
 public:
  virtual ~TokenIssuer() = default;
  virtual Result<IssuedToken> issue(const ServiceAccountClaims& claims) = 0;
};

struct Options {
  std::string service_cidr = "10.96.0.0/16";  // one, or an IPv4 and an IPv6 range with a comma
  int node_port_min = 30000;
  int node_port_max = 32767;
  // Where default/kubernetes leads; no Endpoints are written for an empty or loopback address.
  std::string advertise_address;
  int advertise_port = 6443;
  Duration event_ttl = std::chrono::hours(1);
  // Other servers write to the same store: what this process remembers (addresses, ports) is only a
  // hint, and what must be unique is settled in the store.
  bool shared = false;
  TokenIssuer* tokens = nullptr;  // serviceaccounts/token answers 404 without one; outlives this
};

class Registry {
 public:
  Registry(Env env, store::Store& store, Options options);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Rebuilds the address and port allocators, writes what every cluster has (namespaces, the
  // kubernetes Service, priority classes, RBAC defaults) in one commit, and spawns event expiry in
  // `group`. Where the store is shared and nobody decides yet, they are written later. Call once,
  // before anything else; `group` is joined before this dies.
  Task<Result<void>> start(TaskGroup& group);

  // Writes.
  Task<Result<Written>> create(Target target, Value object, WriteContext context);
  Task<Result<Written>> update(Target target, Value object, WriteContext context);
  Task<Result<Written>> patch(Target target, api::PatchType type, Value patch,
                              WriteContext context);
  Task<Result<Written>> remove(Target target, DeleteOptions options, WriteContext context);
  // Deletes what the selectors match; returns what was there.
  Task<Result<Listing>> remove_collection(Target target, ReadOptions which, DeleteOptions options,
                                          WriteContext context);

  // Many writes, each with its own verdict, made durable together. An object that is written twice
  // is written in order.
  struct Write {
    enum class Type : std::uint8_t { create, update, patch, remove };
    Type type = Type::create;
    Target target;
    Value document;
    api::PatchType patch_type = api::PatchType::merge;
    DeleteOptions delete_options;
  };
  Task<std::vector<Result<Written>>> batch(std::vector<Write> writes, WriteContext context);

  // Reads. A continue token that has expired is refused with a cause "Continue", whose message is
  // a token that leads on without consistency.
  Result<ItemPtr> get(const Target& target, const ReadOptions& options = {}) const;
  Result<Listing> list(const Target& target, const ReadOptions& options) const;
  Result<std::unique_ptr<Watcher>> watch(const Target& target, const WatchOptions& options);

  // The same, but linearizable where the API promises it (catch_up() first), and at any revision
  // that the log retains, not only at those in memory. GET knows resourceVersionMatch=Exact here.
  Task<Result<ItemPtr>> fetch(Target target, ReadOptions options,
                              std::vector<std::string>* warnings = nullptr);
  Task<Result<Listing>> fetch_list(Target target, ReadOptions options,
                                   std::vector<std::string>* warnings = nullptr);
  // What comes before a read asked for with `resource_version`: waits until this server shows what
  // was acknowledged anywhere, unless an older state will do ("0", or one that is here already).
  // Free on a single server. Without a quorum the read may go on: `warnings` (may be null) is told.
  Task<Result<void>> catch_up(std::string resource_version, std::vector<std::string>* warnings);

  // Who changed what and when, of one object (target.name), of a kind, or (no target.resource) of
  // everything in target.ns but volatile kinds.
  Task<Result<History>> history(Target target, HistoryOptions options);

  store::Store& store() noexcept;
  const Options& options() const noexcept;
  const Env& env() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The object of an item, shared with every other reader in this process.
ObjectPtr object_of(const ItemPtr& item);

// `deployments.apps "web" not found` and its kin.
Error not_found_error(const api::Resource& resource, std::string_view name);

}  // namespace skiff::registry
