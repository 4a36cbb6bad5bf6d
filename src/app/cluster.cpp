#include "cluster.hpp"

#include <algorithm>
#include <filesystem>

#include "join.hpp"
#include "server.hpp"
#include "skiff/pki/certificate.hpp"

namespace skiff::app {
namespace {

constexpr Duration kRetry = 1s;

std::string membership_path(const std::string& data_dir) { return data_dir + "/server.json"; }

bool exists(const std::string& path) {
  std::error_code ec;
  return std::filesystem::exists(path, ec);
}

http::TlsClientOptions peer_tls(const Identity& identity) {
  http::TlsClientOptions tls;
  tls.ca_pem = identity.ca_pem;
  tls.identity = {identity.peer.certificate_pem, identity.peer.key_pem};
  tls.server_name = "kubernetes";  // every server's certificate says it, whatever its address
  return tls;
}

raft::Id parse_id(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); }

}  // namespace

Result<Membership> Membership::read(const std::string& data_dir) {
  const std::string path = membership_path(data_dir);
  SKIFF_TRY(const std::string text, pki::read_file(path));
  const auto document = api::parse_json(text);
  Membership m;
  if (document) {
    m.name = (*document)["name"].as_string();
    m.id = parse_id((*document)["id"].as_string());
    m.joins = (*document)["joins"].as_bool();
    m.joining = (*document)["joining"].as_bool();
    m.removed = (*document)["removed"].as_bool();
  }
  if (m.id == 0 || m.name.empty()) {
    return Error{Code::invalid, path +
                                    " is damaged: put back a copy, or join the cluster anew "
                                    "with an empty data directory"};
  }
  return m;
}

Result<void> Membership::write(const std::string& data_dir) const {
  const api::Value document = api::Value::object({{"name", name},
                                                  {"id", std::to_string(id)},
                                                  {"joins", joins},
                                                  {"joining", joining},
                                                  {"removed", removed}});
  return pki::write_private_file(membership_path(data_dir), api::to_json(document) + "\n");
}

Result<ServerRecord> ServerRecord::parse(std::string_view json) {
  SKIFF_TRY(const api::Value document, api::parse_json(json));
  ServerRecord r;
  r.name = document["name"].as_string();
  r.id = document["id"].as_string();
  r.address = document["address"].as_string();
  r.version = document["version"].as_string();
  return r;
}

std::string ServerRecord::to_json() const {
  return api::to_json(
      api::Value::object({{"name", name}, {"id", id}, {"address", address}, {"version", version}}));
}

std::vector<ServerRecord> server_records(const store::Store& store) {
  std::vector<ServerRecord> out;
  const auto page = store.range(store::Range::prefix(kServerRecords));
  if (!page) return out;
  for (const store::ItemPtr& item : page->items) {
    if (auto record = ServerRecord::parse(item->value)) out.push_back(std::move(*record));
  }
  return out;
}

Cluster::Cluster(Env env, ServerOptions options) : env_(env), options_(std::move(options)) {}
Cluster::~Cluster() = default;

bool Cluster::shares(const ServerOptions& options) {
  return options.cluster_init || options.cluster_reset || !options.server.empty() ||
         exists(membership_path(options.data_dir));
}

Result<void> Cluster::check_new_directory() const {
  for (const char* name : {"/state.db", "/pki/ca.crt"}) {
    if (!exists(options_.data_dir + name)) continue;
    return Error{Code::conflict,
                 options_.data_dir +
                     " holds a cluster already: join with an empty --data-dir, or leave out "
                     "--server to start what is there"};
  }
  return {};
}

Task<Result<void>> Cluster::prepare() {
  const auto known = Membership::read(options_.data_dir);
  if (!known && known.error().code != Code::not_found) co_return known.error();
  const bool begins = options_.server.empty();
  if (known) {
    me_ = *known;
    if (me_.removed) {
      co_return Error{Code::conflict,
                      "this server was removed from its cluster: to have it join again, start it "
                      "with an empty --data-dir"};
    }
    if (me_.name != options_.node_name) {
      co_return Error{Code::conflict, "this data directory is the server " + me_.name +
                                          "'s: start it with --node-name " + me_.name};
    }
    if (!me_.joining) co_return Result<void>();
    if (begins) {
      co_return Error{Code::conflict,
                      "this server has not finished joining: give --server and --token again"};
    }
  } else if (options_.cluster_reset) {
    co_return Error{Code::conflict, options_.data_dir +
                                        " is not of a server that has others beside it: start it "
                                        "without --cluster-reset"};
  } else {
    me_ = {options_.node_name, raft::random_id(*env_.random), !begins, !begins, false};
    if (!begins) SKIFF_CO_CHECK(check_new_directory());
  }
  first_start_ = true;
  if (begins) co_return me_.write(options_.data_dir);
  if (options_.token.empty()) {
    co_return Error{Code::bad_request,
                    "joining takes --token: skiff token create prints one on a server of the "
                    "cluster"};
  }
  // Noted before it is asked for: should the answer get lost, it is asked for again by the same id.
  SKIFF_CO_CHECK(me_.write(options_.data_dir));
  const Result<void> joined = co_await join_cluster(env_, options_, std::to_string(me_.id));
  if (!joined) co_return joined.error();
  me_.joining = false;
  co_return me_.write(options_.data_dir);
}

http::Handler& Cluster::connect(const Identity& identity) {
  raft::HttpNetworkOptions o;
  o.tls = peer_tls(identity);
  network_ = raft::make_http_network(env_, std::move(o));
  return network_->handler();
}

Result<void> Cluster::set_identity(const Identity& identity) {
  return network_->set_tls(peer_tls(identity));
}

Result<std::unique_ptr<store::Log>> Cluster::make_log(std::unique_ptr<store::Log> inner,
                                                      std::shared_ptr<const store::Sealer> sealer) {
  raft::EntriesOptions entries;
  entries.directory = options_.data_dir + "/raft";
  if (options_.durability == "relaxed") entries.durability = store::Durability::relaxed;
  SKIFF_TRY(entries_, raft::open_raft_entries(env_, std::move(entries)));
  raft::RaftOptions o;
  o.id = me_.id;
  o.address = options_.own_url();
  o.start = options_.cluster_reset ? raft::Start::reset
            : me_.joins            ? raft::Start::join
                                   : raft::Start::bootstrap;
  o.inner = std::move(inner);
  o.network = network_.get();
  o.entries = entries_.get();
  o.sealer = std::move(sealer);
  SKIFF_TRY(auto log, raft::make_raft_log(env_, std::move(o)));
  log_ = log.get();
  return std::unique_ptr<store::Log>(std::move(log));
}

Task<Result<void>> Cluster::forget_others(store::Store* store) {
  std::vector<store::Op> ops;
  for (const ServerRecord& r : server_records(*store)) {
    if (r.id == std::to_string(me_.id)) continue;
    store::Op op;
    op.type = store::Op::Type::erase;
    op.key = std::string(kServerRecords) + r.name;
    ops.push_back(std::move(op));
  }
  if (ops.empty()) co_return Result<void>();
  const auto verdicts = co_await store->commit(std::move(ops));
  for (const auto& v : verdicts) {
    if (!v) co_return v.error();
  }
  co_return Result<void>();
}

void Cluster::start(TaskGroup& group, registry::Registry& registry, std::function<void()> removed) {
  registry_ = &registry;
  group.spawn("cluster: record", introduce());
  group.spawn("cluster: voter", become_voter());
  group.spawn("cluster: removal", watch_removal(std::move(removed)));
  group.spawn("cluster: endpoints", keep_endpoints());
}

Task<void> Cluster::hand_over() {
  if (!log_) co_return;
  const raft::RaftStatus s = log_->status();
  const bool other = std::any_of(s.servers.begin(), s.servers.end(), [](const auto& p) {
    return !p.self && p.healthy && p.server.role == raft::Role::voter;
  });
  if (s.leader != s.id || !other) co_return;
  const Result<void> done = co_await log_->transfer_leadership(0);
  if (!done) log::warn("app", "leadership was not handed over", {{"error", done.error()}});
}

Task<void> Cluster::stop() {
  log_ = nullptr;  // went with the store
  if (network_) co_await network_->stop();
  entries_.reset();
}

std::optional<raft::PeerStatus> Cluster::find(raft::Id id) const {
  if (!log_) return std::nullopt;
  for (raft::PeerStatus& peer : log_->status().servers) {
    if (peer.server.id == id) return std::move(peer);
  }
  return std::nullopt;
}

// The first server of a cluster has nobody who wrote its record.
Task<void> Cluster::introduce() {
  store::Store& store = registry_->store();
  const ServerRecord me{me_.name, std::to_string(me_.id), options_.own_url(), kubernetes_version()};
  for (;;) {
    const std::string key = std::string(kServerRecords) + me.name;
    const auto have = store.get(key);
    if (have && (*have)->value == me.to_json()) co_return;
    store::Op op;
    op.key = key;
    op.value = me.to_json();
    std::vector<store::Op> ops;
    ops.push_back(std::move(op));
    const auto verdicts = co_await store.commit(std::move(ops));
    if (verdicts.front()) co_return;
    co_await env_.clock->sleep_for(kRetry);
  }
}

Task<void> Cluster::become_voter() {
  for (;;) {
    const auto me = find(me_.id);
    if (me && me->server.role == raft::Role::voter) co_return;
    const Result<void> promoted = co_await log_->promote(me_.id);
    if (promoted) {
      log::info("app", "this server votes from now on");
      co_return;
    }
    log::debug("app", "not a voter yet", {{"error", promoted.error()}});
    co_await env_.clock->sleep_for(kRetry);
  }
}

Task<void> Cluster::watch_removal(std::function<void()> removed) {
  while (log_->status().state != "removed") co_await log_->status_changed();
  me_.removed = true;
  if (const auto ok = me_.write(options_.data_dir); !ok) {
    log::warn("app", "cannot note the removal", {{"error", ok.error()}});
  }
  log::warn("app", "this server was removed from its cluster: it stops");
  removed();
}

Task<Result<void>> Cluster::admit(ServerRecord newcomer) {
  store::Store& store = registry_->store();
  const std::string key = std::string(kServerRecords) + newcomer.name;
  const raft::Id id = parse_id(newcomer.id);
  if (id == 0) co_return Error{Code::bad_request, "the newcomer has no id"};
  const auto have = store.get(key);
  if (have) {
    const auto old = ServerRecord::parse((*have)->value);
    if (!old || old->id != newcomer.id) {
      co_return Error{Code::already_exists,
                      "this cluster has a server named " + newcomer.name + " already, at " +
                          (old ? old->address : "an unknown address") +
                          ": start the new one with another --node-name, or take the old one out "
                          "with skiff server remove " +
                          newcomer.name};
    }
  }
  store::Op op;
  op.key = key;
  op.value = newcomer.to_json();
  op.expect = have ? (*have)->modified : 0;
  std::vector<store::Op> ops;
  ops.push_back(std::move(op));
  auto verdicts = co_await store.commit(std::move(ops));
  if (!verdicts.front()) co_return verdicts.front().error();
  raft::Server server{id, newcomer.address, raft::Role::standby};
  const Result<void> added = co_await log_->add(std::move(server));
  if (added || have) co_return added;
  store::Op undo;
  undo.type = store::Op::Type::erase;
  undo.key = key;
  undo.expect = (*verdicts.front())->modified;
  std::vector<store::Op> undos;
  undos.push_back(std::move(undo));
  co_await store.commit(std::move(undos));
  co_return added;
}

Task<Result<void>> Cluster::remove(std::string name) {
  store::Store& store = registry_->store();
  const std::string key = std::string(kServerRecords) + name;
  const auto have = store.get(key);
  if (!have) {
    co_return Error{Code::not_found,
                    "there is no server named " + name + ": skiff status shows them"};
  }
  SKIFF_CO_TRY(const ServerRecord record, ServerRecord::parse((*have)->value));
  const Result<void> removed = co_await log_->remove(parse_id(record.id));
  if (!removed && removed.error().code != Code::not_found) co_return removed.error();
  store::Op op;
  op.type = store::Op::Type::erase;
  op.key = key;
  std::vector<store::Op> ops;
  ops.push_back(std::move(op));
  const auto verdicts = co_await store.commit(std::move(ops));
  // A server that takes itself out may not be heard any more; what is left over is only a name.
  if (!verdicts.front() && verdicts.front().error().code != Code::unavailable) {
    co_return verdicts.front().error();
  }
  co_return Result<void>();
}

std::string Cluster::leader_address() const {
  if (!log_) return "";
  const raft::RaftStatus s = log_->status();
  if (s.leader == s.id) return "";
  for (const raft::PeerStatus& p : s.servers) {
    if (p.server.id == s.leader) return p.server.address;
  }
  return "";
}

bool Cluster::arrived() const {
  if (!first_start_ || !me_.joins) return true;
  return log_->status().applied > 0 && find(me_.id).has_value();
}

bool Cluster::settled() {
  if (!log_) return false;
  const raft::RaftStatus s = log_->status();
  if (!settle_mark_) settle_mark_ = s.last;
  return s.snapshot >= *settle_mark_;
}

api::Value Cluster::status() const {
  api::Value servers = api::Value::array();
  const raft::RaftStatus s = log_->status();
  const auto records = server_records(registry_->store());
  for (const raft::PeerStatus& p : s.servers) {
    const auto r = std::find_if(records.begin(), records.end(), [&](const ServerRecord& record) {
      return record.id == std::to_string(p.server.id);
    });
    api::Value one = api::Value::object(
        {{"name", r == records.end() ? "?" : r->name},
         {"address", p.server.address},
         {"role", p.leader || p.server.id == s.leader ? "leader" : name_of(p.server.role)},
         {"self", p.self},
         {"healthy", p.healthy},
         {"lag", p.lag}});
    one.set("version", r == records.end() ? "" : r->version);
    if (p.last_contact) {
      one.set("lastContactMs",
              std::chrono::round<std::chrono::milliseconds>(*p.last_contact).count());
    }
    if (p.receiving_snapshot) one.set("receivingSnapshot", true);
    if (!p.trouble.empty()) one.set("trouble", p.trouble);
    servers.push_back(std::move(one));
  }
  api::Value out = api::Value::object({{"state", s.state},
                                       {"term", s.term},
                                       {"quorum", s.quorum},
                                       {"leaderKnown", s.leader != 0},
                                       {"committed", s.committed},
                                       {"applied", s.applied},
                                       {"entryBytes", s.entry_bytes}});
  if (!s.trouble.empty()) out.set("trouble", s.trouble);
  out.set("servers", std::move(servers));
  return out;
}

}  // namespace skiff::app
