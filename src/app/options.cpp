#include "options.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <sstream>

#include "skiff/api/value.hpp"
#include "skiff/cli/flags.hpp"

namespace skiff::app {
namespace {

constexpr std::array<std::string_view, 5> kComponents = {"scheduler", "controllers", "kubelet",
                                                         "network", "proxy"};

void add_flags(cli::Flags& f, ServerOptions& o) {
  f.add("data-dir", &o.data_dir, "DIR",
        "everything skiff keeps (default " + default_data_dir() + ")", 'd');
  f.add("bind-address", &o.bind_address, "ADDR", "address the API listens on (default 0.0.0.0)");
  f.add("https-port", &o.https_port, "PORT", "port of the API (default 6443)");
  f.add("kubelet-port", &o.kubelet_port, "PORT", "port of the node's own API (default 10250)");
  f.add("node-name", &o.node_name, "NAME", "name of this node (default: the host's)");
  f.add("node-ip", &o.node_ip, "ADDR", "address of this node (default: that of the default route)");
  f.add("tls-san", &o.tls_san, "NAME,...", "more names or addresses for the serving certificate");
  f.add("write-kubeconfig", &o.write_kubeconfig, "FILE", "also write the kubeconfig here");
  f.add("disable", &o.disable, "COMPONENT,...",
        "leave out: scheduler, controllers, kubelet, network, proxy");
  f.add("cluster-cidr", &o.cluster_cidr, "CIDR", "addresses of pods (default 10.42.0.0/16)");
  f.add("service-cidr", &o.service_cidr, "CIDR", "addresses of services (default 10.43.0.0/16)");
  f.add("service-node-port-range", &o.node_ports, "A-B", "node ports (default 30000-32767)");
  f.add("cluster-domain", &o.cluster_domain, "NAME", "DNS domain (default cluster.local)");
  f.add("token", &o.token, "TOKEN", "bearer token with full rights, beside the certificate");
  f.add("datastore", &o.datastore, "KIND", "sqlite (default) or memory (nothing is kept)");
  f.add("durability", &o.durability, "MODE",
        "full (default): a power cut loses nothing; relaxed: it may lose the last seconds");
  f.add("default-registry", &o.default_registry, "HOST",
        "registry that image names without a host are pulled from (default: none)");
  f.add("log-level", &o.log_level, "LEVEL", "debug, info (default), warn, error or off");
  f.add("config", &o.config, "FILE", "YAML file whose keys are these flags");
  f.add("cluster-init", &o.cluster_init, "", "start a cluster of several servers");
  f.add("server", &o.server, "URL", "join the servers at this address");
  f.add("sim-nodes", &o.sim_nodes, "N", "add simulated nodes");
  f.add("help", &o.help, "", "show this", 'h');
}

Error bad(std::string message) { return {Code::bad_request, std::move(message)}; }

std::string host_name() {
  utsname names{};
  ::uname(&names);
  std::string name = names.nodename;
  for (char& c : name) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if ((std::isalnum(static_cast<unsigned char>(c)) == 0) && c != '-' && c != '.') c = '-';
  }
  const std::size_t first = name.find_first_not_of("-.");
  const std::size_t last = name.find_last_not_of("-.");
  return first == std::string::npos ? "node" : name.substr(first, last - first + 1);
}

Result<api::Value> read_config(const std::string& path) {
  std::ifstream in(path);
  if (!in) return bad("cannot read --config " + path + ": no such file, or no right to read it");
  std::stringstream text;
  text << in.rdbuf();
  auto document = api::parse_yaml(text.str());
  if (!document) return annotate(document.error(), path);
  return document;
}

Result<void> check(const ServerOptions& o) {
  if (o.cluster_init || !o.server.empty()) {
    return bad("this version of skiff runs one server: leave out --cluster-init and --server");
  }
  if (o.sim_nodes != 0)
    return bad("this version of skiff has no simulated nodes: leave out --sim-nodes");
  if (o.https_port < 1 || o.https_port > 65535 || o.kubelet_port < 1 || o.kubelet_port > 65535) {
    return bad("ports lie between 1 and 65535");
  }
  if (o.datastore != "sqlite" && o.datastore != "memory") {
    return bad("unknown --datastore \"" + o.datastore + "\": use sqlite or memory");
  }
  if (o.durability != "full" && o.durability != "relaxed") {
    return bad("unknown --durability \"" + o.durability + "\": use full or relaxed");
  }
  for (const std::string& name : o.disable) {
    if (std::find(kComponents.begin(), kComponents.end(), name) == kComponents.end()) {
      return bad("unknown component \"" + name +
                 "\" for --disable: use scheduler, controllers, kubelet, network or proxy");
    }
  }
  return {};
}

}  // namespace

bool ServerOptions::disabled(std::string_view component) const {
  return std::find(disable.begin(), disable.end(), component) != disable.end();
}

std::string default_data_dir() {
  if (::geteuid() == 0) return "/var/lib/skiff";
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && *data != '\0') return std::string(data) + "/skiff";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : ".") + "/.local/share/skiff";
}

Result<ServerOptions> parse_server_options(std::span<const std::string> args) {
  ServerOptions options;
  cli::Flags flags;
  add_flags(flags, options);
  SKIFF_TRY(const auto rest, flags.parse(args));
  if (!rest.empty()) return bad("unexpected argument \"" + rest.front() + "\"");
  if (options.help) return options;
  if (!options.config.empty()) {
    SKIFF_TRY(const auto document, read_config(options.config));
    SKIFF_CHECK(flags.load(document, options.config));
  }
  SKIFF_CHECK(check(options));
  if (options.data_dir.empty()) options.data_dir = default_data_dir();
  if (options.node_name.empty()) options.node_name = host_name();
  return options;
}

std::string server_help() {
  ServerOptions options;
  cli::Flags flags;
  add_flags(flags, options);
  return "usage: skiff server [FLAGS]\n\nRuns a whole cluster: control plane and a "
         "node.\n\nFlags:\n" +
         flags.help();
}

}  // namespace skiff::app
