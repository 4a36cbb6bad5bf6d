// One server's part in a cluster of several: who it is (DATA_DIR/server.json), its end of the
// replicated log, who the others are (a record each in the store), and what is done to keep that
// so.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "identity.hpp"
#include "options.hpp"
#include "skiff/api/value.hpp"
#include "skiff/raft/http_network.hpp"
#include "skiff/raft/raft.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::app {

// DATA_DIR/server.json.
struct Membership {
  std::string name;
  raft::Id id = 0;
  bool joins = false;    // came to a cluster, rather than began one
  bool joining = false;  // asked to come in and has not been answered
  bool removed = false;  // was taken out: must not come back with these data

  // not_found when this data directory is of a server alone.
  static Result<Membership> read(const std::string& data_dir);
  Result<void> write(const std::string& data_dir) const;
};

// Under "/skiff/servers/NAME" in the store.
struct ServerRecord {
  std::string name;
  std::string id;  // decimal
  std::string address;
  std::string version;

  static Result<ServerRecord> parse(std::string_view json);
  std::string to_json() const;
};
inline constexpr std::string_view kServerRecords = "/skiff/servers/";
std::vector<ServerRecord> server_records(const store::Store& store);

// Those of `addresses` (https://HOST:PORT) that default/kubernetes can lead to, sorted. Servers of
// different ports cannot share one Endpoints subset: those with the port of `own` are taken.
std::vector<std::string> usable_endpoints(std::vector<std::string> addresses,
                                          const std::string& own);
// Has default/kubernetes lead to `addresses`, at least one. `registry` outlives the call.
Task<Result<void>> write_endpoints(registry::Registry* registry,
                                   std::vector<std::string> addresses);

class Cluster {
 public:
  Cluster(Env env, ServerOptions options);
  ~Cluster();

  // Whether `options` or the data directory say that the log is shared.
  static bool shares(const ServerOptions& options);

  // Finds out who this server is; asks to be let in where it is new. Before the identity is made:
  // a server that joins gets the cluster's authority here.
  Task<Result<void>> prepare();
  // Makes the network, whose handler() is mounted at raft::kRaftPath before the log is opened.
  http::Handler& connect(const Identity& identity);
  Result<void> set_identity(const Identity& identity);
  // `inner`: this server's own database.
  Result<std::unique_ptr<store::Log>> make_log(std::unique_ptr<store::Log> inner,
                                               std::shared_ptr<const store::Sealer> sealer);

  // --cluster-reset: forgets the others. After the store was opened.
  Task<Result<void>> forget_others(store::Store* store);
  // Writes this server's record, becomes a voter, keeps the kubernetes endpoints. `removed` is
  // called once, when this server was taken out.
  void start(TaskGroup& group, registry::Registry& registry, std::function<void()> removed);
  // Before the port is closed: a leader makes another server lead, so that nobody waits for an
  // election.
  Task<void> hand_over();
  // After the store was closed.
  Task<void> stop();

  // A newcomer: writes its record and adds it to the log's servers.
  Task<Result<void>> admit(ServerRecord newcomer);
  Task<Result<void>> remove(std::string name);
  api::Value status() const;
  // https://... of the leader; "" when it is not known, or is this server.
  std::string leader_address() const;
  // Whether entries written before the first call are no longer kept here.
  bool settled();
  // This server was let in and has had the cluster's state, at least once.
  bool arrived() const;

 private:
  Result<void> check_new_directory() const;
  Task<void> introduce();
  Task<void> become_voter();
  Task<void> watch_removal(std::function<void()> removed);
  Task<void> keep_endpoints();
  std::optional<raft::PeerStatus> find(raft::Id id) const;

  Env env_;
  ServerOptions options_;
  Membership me_;
  bool first_start_ = false;
  std::unique_ptr<raft::HttpNetwork> network_;
  std::unique_ptr<raft::Entries> entries_;
  raft::RaftLog* log_ = nullptr;  // the store's
  registry::Registry* registry_ = nullptr;
  std::optional<raft::Index> settle_mark_;
};

}  // namespace skiff::app
