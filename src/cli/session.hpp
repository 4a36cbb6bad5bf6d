// What every verb works with: the connection, the flags all verbs share, and how arguments name
// things.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/api/schema.hpp"
#include "skiff/client/http_client.hpp"

namespace skiff::cli {

struct Request {
  std::string verb;
  std::vector<std::string> words;  // what follows the verb and is no flag
  std::string kubeconfig;
  std::string context;
  std::string ns;
  bool all_namespaces = false;
  std::string output;  // "", wide, name, json, yaml
  std::string selector;
  std::string field_selector;
  std::vector<std::string> files;
  bool recursive = false;
  bool watch = false;
  bool no_headers = false;
  bool show_labels = false;
  bool all = false;
  bool force = false;
  bool ignore_not_found = false;
  bool wait = true;
  std::int64_t grace_period = -1;
  std::string timeout = "0s";
  std::string dry_run = "none";
  std::int64_t replicas = -1;
  std::int64_t to_revision = 0;
  bool follow = false;
  bool previous = false;
  bool timestamps = false;
  std::int64_t tail = -1;
  std::string since;
  std::string container;
  // history and undo
  std::string data_dir;
  std::int64_t limit = 20;
  bool show_all = false;
};

// One thing the user named.
struct Named {
  const api::Resource* resource = nullptr;
  std::string name;  // "" for all of them
};

class Session {
 public:
  Session(Env env, client::ClusterAccess access, Request request);

  Env env;
  client::HttpClient client;
  Request request;
  std::string ns;

  client::Ref ref_of(const api::Resource& resource, std::string name = "") const;
  // GET with an Accept header; any status is an answer.
  Task<Result<http::ClientResponse>> get(std::string path, std::string accept);
};

// The file that --kubeconfig names, else $KUBECONFIG, else skiff's own if it can be read, else
// ~/.kube/config.
std::string find_kubeconfig(const std::string& given);
// "deploy", "deployments.apps", "deployment/web", "po,svc", "all". bad_request worded as kubectl
// words it.
Result<std::vector<Named>> parse_names(const std::vector<std::string>& words);
// `deployment.apps/web`, as kubectl names what it did.
std::string display_name(const api::Resource& resource, std::string_view name);
// Documents of files, directories, or standard input ("-").
Result<std::vector<api::Value>> read_manifests(const std::vector<std::string>& files,
                                               bool recursive);
const api::Resource* resource_of(const api::Value& object);
// "30s", "5m", "1h30m".
Result<Duration> parse_duration(std::string_view text);

using Verb = Task<Result<int>> (*)(Session*);
// Connects as `request` says and runs `verb`; the exit code, with errors printed.
int run_verb(Request request, Verb verb);

// The verbs; each returns the exit code or an error to be printed.
Task<Result<int>> run_get(Session* session);
Task<Result<int>> run_apply(Session* session);
Task<Result<int>> run_delete(Session* session);
Task<Result<int>> run_logs(Session* session);
Task<Result<int>> run_describe(Session* session);
Task<Result<int>> run_scale(Session* session);
Task<Result<int>> run_rollout(Session* session);
Task<Result<int>> run_history(Session* session);
Task<Result<int>> run_undo(Session* session);

// The one object that TYPE NAME or TYPE/NAME in `words` names; with `kind_alone` also TYPE.
Result<Named> parse_one(const std::vector<std::string>& words, bool kind_alone);

// One change as /skiff/v1/history tells it.
struct Change {
  std::int64_t revision = 0;
  std::string time;    // RFC 3339; "" when not known
  std::string author;  // "" when not known
  std::string verb;    // created, modified, deleted, kept
  const api::Resource* resource = nullptr;
  api::Value object;
  api::Value previous;  // null when there was none, or it is no longer kept
};
struct History {
  std::vector<Change> changes;  // oldest first
  std::int64_t revision = 0;
  std::int64_t compacted = 0;  // oldest revision that can be read
};
// `named.resource` null: everything in the session's namespace.
Task<Result<History>> fetch_history(Session* session, Named named, std::int64_t limit);

}  // namespace skiff::cli
