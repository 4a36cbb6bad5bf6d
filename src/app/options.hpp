// `skiff server` and `skiff agent`: flags, configuration file, defaults.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "skiff/base/clock.hpp"
#include "skiff/base/result.hpp"

namespace skiff::app {

struct ServerOptions {
  std::string data_dir;  // default: /var/lib/skiff as root, ~/.local/share/skiff otherwise
  std::string bind_address = "0.0.0.0";
  std::int64_t https_port = 6443;
  std::int64_t kubelet_port = 10250;
  std::string node_name;  // default: the host's name, lower case
  std::string node_ip;    // default: that of the default route, else of lo
  std::vector<std::string> tls_san;
  std::string write_kubeconfig;  // a second copy; DATA_DIR/kubeconfig is always written
  std::vector<std::string> disable;
  std::string cluster_cidr = "10.42.0.0/16";
  std::string service_cidr = "10.43.0.0/16";
  std::string node_ports = "30000-32767";
  std::string cluster_domain = "cluster.local";
  std::string token;
  std::string datastore = "sqlite";
  std::string datastore_prefix = "/skiff";  // of an etcd's keys
  std::string datastore_ca;                 // files; what their flags are called
  std::string datastore_cert;
  std::string datastore_key;
  std::string datastore_user;
  std::string datastore_password;  // a file
  std::string durability = "full";
  std::string history;  // default: 24h, over an etcd 1h
  std::string history_bytes = "256Mi";
  Duration history_age{};               // `history` as a duration; 0: age does not matter
  std::size_t history_size = 0;         // `history_bytes` as a number; 0: no bound
  std::vector<std::string> encrypt;     // {"secrets"} when nothing is said
  std::string encryption_keys;          // a file
  std::string encryption_keys_command;  // or what prints them
  std::string default_registry;         // where short image names are pulled from; none
  std::string log_level = "info";
  std::string config;
  bool cluster_init = false;
  bool cluster_reset = false;
  std::string server;  // joins the servers here; `token` is the join token then
  std::int64_t sim_nodes = 0;
  std::string snapshot_schedule = "0";
  std::int64_t snapshot_retention = 5;
  std::string snapshot_dir;   // default: DATA_DIR/snapshots
  Duration snapshot_every{};  // `snapshot_schedule` as a duration; 0: none
  // Not a flag: a copy of a cluster (skiff fork). Pods are said to run; dead nodes mean nothing.
  bool fork = false;
  bool help = false;

  bool disabled(std::string_view component) const;
  bool external_datastore() const;  // etcd
  // https://NODE-IP:PORT, where other servers reach this one. `node_ip` must be known by then.
  std::string own_url() const;
  std::string kubeconfig() const { return data_dir + "/kubeconfig"; }
};

// Reads flags and then the file named by --config. Fails with one line for the user.
Result<ServerOptions> parse_server_options(std::span<const std::string> args);
std::string server_help();

// "90s", "30m", "24h", "7d"; "0" is none. bad_request with what is wanted.
Result<Duration> parse_span(std::string_view text);

// The data directory used when none is given.
std::string default_data_dir();

}  // namespace skiff::app
