// An external etcd (3.4 or later) as the store's log, through etcd's JSON gateway. Any number of
// skiff servers may stand over one etcd. docs/internals/etcd.md describes the keys and their
// format, docs/operating/etcd.md what changes for a user.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/http/tls.hpp"
#include "skiff/store/log.hpp"

namespace skiff::etcd {

struct EtcdOptions {
  std::vector<std::string> endpoints;  // "https://10.0.0.5:2379"; one suffices, more are tried
  std::string prefix = "/skiff";       // before every key; one cluster each
  // Which cluster this is: the first server leaves it under the prefix, and replay() refuses where
  // another stands. Empty: not compared.
  std::string cluster;
  http::TlsClientOptions tls;  // CA, client certificate and key as PEM text
  std::string user;            // both empty: no authentication by name
  std::string password;
  Duration connect_timeout = 3s;
  Duration request_timeout = 10s;  // of one request, with its repetitions; of checks, half of it
  Duration health_interval = 5s;   // a watch that is silent this long is checked
  Duration backoff = 100ms;        // first pause between attempts to reconnect; doubles up to 5 s
  std::size_t connections = 16;    // writes that may be under way at once
  // Superseded versions older than this are compacted away, by one of the servers. 0: only when
  // compact() asks; then etcd's own --auto-compaction settings should be used.
  Duration history = 1h;
  Duration lease = 10s;  // Election: how long a server that vanished still counts as leading
  std::shared_ptr<const store::Sealer> sealer;  // null: values are kept as they are
};

// A shared log: decider() is `elsewhere` while etcd answers, `nobody` otherwise. replay() is the
// first to connect and fails with one line for the user. Every Op becomes one etcd transaction;
// Item::modified is etcd's revision. Ops forwarded together may be given revisions in another order
// than they were listed, except those of one key. Volatile Ops are kept like all others. Writes are
// repeated where it is sure that they do not happen twice.
// bad_request when the options cannot be used. Nothing is sent yet.
Result<std::unique_ptr<store::Log>> open_etcd_log(Env env, EtcdOptions options);

// The EtcdOptions::cluster that stands under the prefix; "" where none does.
Task<Result<std::string>> read_cluster(Env env, EtcdOptions options);

// A server that stands for leader, as the others see it while its lease lives.
struct Candidate {
  std::string name;
  std::string about;
  bool leads = false;
};

// Which of the servers over one etcd runs what must run once (controllers, scheduler): nobody's
// Decider is `here`. The leader holds a key that an etcd lease keeps alive.
class Election {
 public:
  virtual ~Election() = default;
  // Resolves when this server leads; waits for others to give up or vanish, and for etcd to come
  // back, as long as it takes. Fails only when etcd refuses this server (credentials, permissions).
  virtual Task<Result<void>> campaign() = 0;
  // False as soon as this server's lease may have run out by its own monotonic clock: before
  // another can lead. Cheap.
  virtual bool leads() const = 0;
  // Resolves when leads() has become false.
  virtual Task<void> lost() = 0;
  // Name of the newest leader that campaign() saw; "" when none.
  virtual std::string leader() const = 0;
  // Everybody who stands now or leads, by name; a server that died is among them for up to the
  // lease. unavailable while etcd does not answer.
  virtual Task<Result<std::vector<Candidate>>> candidates() = 0;
  // Gives up leadership, if held, so that another server need not wait; joins what ran here. Must
  // have resolved before destruction. No call but candidates() may follow.
  virtual Task<void> close() = 0;
};

// `candidate` is this server's name, for people to read and different on every server; `about` is
// whatever the others should know of it.
Result<std::unique_ptr<Election>> open_election(Env env, EtcdOptions options, std::string candidate,
                                                std::string about = "");

}  // namespace skiff::etcd
