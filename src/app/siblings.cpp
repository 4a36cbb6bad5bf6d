#include "siblings.hpp"

#include <algorithm>
#include <filesystem>

#include "cluster.hpp"
#include "join.hpp"
#include "server.hpp"
#include "server_store.hpp"

namespace skiff::app {
namespace {

constexpr Duration kLook = 5s;       // at who lives, while this server leads
constexpr Duration kLeadCheck = 2s;  // whether it does

bool exists(const std::string& path) {
  std::error_code ec;
  return std::filesystem::exists(path, ec);
}

std::string start_of(const std::string& cluster) { return cluster.substr(0, 12) + "..."; }

}  // namespace

Siblings::Siblings(Env env, ServerOptions options)
    : env_(env), options_(std::move(options)), tasks_(env.executor) {}

Task<Result<void>> Siblings::prepare() {
  const std::string& directory = options_.data_dir;
  if (exists(directory + "/server.json")) {
    co_return Error{Code::conflict, directory +
                                        " is of a server that keeps the cluster's state with "
                                        "others: over an etcd, start with another --data-dir"};
  }
  if (exists(directory + "/pki/ca.crt")) co_return Result<void>();
  SKIFF_CO_TRY(const etcd::EtcdOptions settings, etcd_options(options_, ""));
  SKIFF_CO_TRY(const std::string cluster, co_await etcd::read_cluster(env_, settings));
  const std::string place = "\"" + settings.prefix + "\" in etcd";
  if (options_.server.empty()) {
    if (cluster.empty()) co_return Result<void>();
    co_return Error{Code::conflict,
                    place + " holds a cluster already (" + start_of(cluster) +
                        "): to join it, give --server https://ONE-OF-ITS-SERVERS:6443 and --token "
                        "(skiff token create prints one there); to begin another, "
                        "--datastore-prefix"};
  }
  if (options_.token.empty()) {
    co_return Error{Code::bad_request,
                    "joining takes --token: skiff token create prints one on a server of the "
                    "cluster"};
  }
  SKIFF_CO_TRY(const JoinToken token, JoinToken::parse(options_.token));
  if (cluster.empty() || token.cluster_id != cluster) {
    co_return Error{Code::conflict,
                    place + " holds " +
                        (cluster.empty() ? "no cluster" : "the cluster " + start_of(cluster)) +
                        ", and the token is of " + start_of(token.cluster_id) +
                        ": give the --datastore and --datastore-prefix of the servers there"};
  }
  co_return co_await join_cluster(env_, options_, "");
}

Result<void> Siblings::connect(const Identity& identity) {
  SKIFF_TRY(settings_, etcd_options(options_, identity.cluster_id));
  const ServerRecord me{options_.node_name, "", options_.own_url(), kubernetes_version()};
  SKIFF_TRY(election_, etcd::open_election(env_, settings_, me.name, me.to_json()));
  if (exists(options_.data_dir + "/state.db")) {
    log::warn("app", "the data directory holds a database that is not used: etcd has the state",
              {{"file", options_.data_dir + "/state.db"}});
  }
  return {};
}

void Siblings::start(registry::Registry& registry) {
  registry_ = &registry;
  tasks_.spawn("etcd: endpoints", keep_endpoints());
}

Task<void> Siblings::stop() {
  tasks_.cancel();
  co_await tasks_.join();
  if (election_) co_await election_->close();
}

Task<void> Siblings::keep_endpoints() {
  std::vector<std::string> written;
  for (;;) {
    bool leads = election_->leads();
    if (leads) leads = co_await refresh_endpoints(&written);
    if (!leads) written.clear();
    co_await env_.clock->sleep_for(leads ? kLook : kLeadCheck);
  }
}

// False: to be tried again soon.
Task<bool> Siblings::refresh_endpoints(std::vector<std::string>* written) {
  const auto all = co_await election_->candidates();
  if (!all) co_return false;
  std::vector<std::string> addresses;
  for (const etcd::Candidate& c : *all) {
    if (const auto record = ServerRecord::parse(c.about)) addresses.push_back(record->address);
  }
  addresses = usable_endpoints(std::move(addresses), options_.own_url());
  if (addresses.empty() || addresses == *written) co_return true;
  const Result<void> done = co_await write_endpoints(registry_, addresses);
  if (done) *written = addresses;
  co_return done.has_value();
}

Task<Result<void>> Siblings::admit(std::string name) {
  const auto all = co_await election_->candidates();
  if (!all) co_return all.error();
  for (const etcd::Candidate& c : *all) {
    if (c.name != name) continue;
    co_return Error{Code::already_exists, "this cluster has a server named " + name +
                                              " already: start the new one with another "
                                              "--node-name"};
  }
  co_return Result<void>();
}

api::Value Siblings::describe(const etcd::Candidate& c) const {
  const auto record = ServerRecord::parse(c.about);
  api::Value out = api::Value::object({{"name", c.name},
                                       {"address", record ? record->address : ""},
                                       {"role", c.leads ? "leader" : "follower"},
                                       {"self", c.name == options_.node_name},
                                       {"healthy", true}});
  out.set("version", record ? record->version : "");
  return out;
}

Task<api::Value> Siblings::status() {
  const auto all = co_await election_->candidates();
  const store::Store& store = registry_->store();
  api::Value servers = api::Value::array();
  bool listed = false;
  if (all) {
    for (const etcd::Candidate& c : *all) {
      servers.push_back(describe(c));
      listed = listed || c.name == options_.node_name;
    }
  }
  if (!listed) {
    const ServerRecord me{options_.node_name, "", options_.own_url(), kubernetes_version()};
    const etcd::Candidate self{me.name, me.to_json(), false};
    servers.push_back(describe(self));
  }
  api::Value out = api::Value::object();
  out.set("quorum", all.has_value() && store.decider() != store::Decider::nobody);
  if (store.decider() == store::Decider::nobody) {
    const auto why = co_await registry_->store().barrier();
    if (!why) out.set("trouble", why.error().message);
  } else if (!all) {
    out.set("trouble", all.error().message);
  }
  out.set("servers", std::move(servers));
  co_return out;
}

}  // namespace skiff::app
