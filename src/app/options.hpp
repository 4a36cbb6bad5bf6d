// `skiff server` and `skiff agent`: flags, configuration file, defaults.
#pragma once

#include <span>
#include <string>
#include <vector>

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
  std::string durability = "full";
  std::string default_registry;  // where short image names are pulled from; none
  std::string log_level = "info";
  std::string config;
  bool cluster_init = false;
  std::string server;
  std::int64_t sim_nodes = 0;
  bool help = false;

  bool disabled(std::string_view component) const;
  std::string kubeconfig() const { return data_dir + "/kubeconfig"; }
};

// Reads flags and then the file named by --config. Fails with one line for the user.
Result<ServerOptions> parse_server_options(std::span<const std::string> args);
std::string server_help();

// The data directory used when none is given.
std::string default_data_dir();

}  // namespace skiff::app
