#include "options.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <sstream>

#include "skiff/api/quantity.hpp"
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
  f.add("token", &o.token, "TOKEN",
        "bearer token with full rights, beside the certificate; with --server: the join token that "
        "skiff token create prints there");
  f.add("datastore", &o.datastore, "KIND",
        "sqlite (default), memory (nothing is kept), or the http(s):// addresses of an etcd, with "
        "commas between them");
  f.add("datastore-prefix", &o.datastore_prefix, "PREFIX",
        "etcd: what all keys of this cluster begin with (default /skiff)");
  f.add("datastore-cafile", &o.datastore_ca, "FILE",
        "etcd: the authority its certificate is from (default: the system's)");
  f.add("datastore-certfile", &o.datastore_cert, "FILE", "etcd: certificate to show to it");
  f.add("datastore-keyfile", &o.datastore_key, "FILE", "etcd: the key of that certificate");
  f.add("datastore-user", &o.datastore_user, "NAME", "etcd: user, where it has authentication on");
  f.add("datastore-password-file", &o.datastore_password, "FILE", "etcd: the user's password");
  f.add("durability", &o.durability, "MODE",
        "full (default): a power cut loses nothing; relaxed: a power cut may lose writes of the "
        "last seconds that were already acknowledged, a crash of skiff alone loses nothing");
  f.add("history", &o.history, "SPAN",
        "how long what was overwritten or deleted can still be read and undone (default 24h; over "
        "an etcd 1h)");
  f.add("history-bytes", &o.history_bytes, "SIZE",
        "how much of it is kept on disk at most (default 256Mi; 0: no bound)");
  f.add("encrypt", &o.encrypt, "KIND,...",
        "what is encrypted on disk: plural names such as secrets,configmaps, or none (default "
        "secrets)");
  f.add("encryption-keys", &o.encryption_keys, "FILE",
        "keys, one a line, 32 bytes in base64; the first encrypts, all decrypt (default: made in "
        "the data directory)");
  f.add("encryption-keys-command", &o.encryption_keys_command, "CMD",
        "a shell command that prints the keys, for keys that must not lie on this disk");
  f.add("default-registry", &o.default_registry, "HOST",
        "registry that image names without a host are pulled from (default: none)");
  f.add("log-level", &o.log_level, "LEVEL", "debug, info (default), warn, error or off");
  f.add("config", &o.config, "FILE", "YAML file whose keys are these flags");
  f.add("cluster-init", &o.cluster_init, "",
        "be the first of several servers; a data directory of a single server is converted");
  f.add("server", &o.server, "URL", "join the cluster of the server at this address, with --token");
  f.add("cluster-reset", &o.cluster_reset, "",
        "the other servers are lost for good: make this one a cluster again, then stop");
  f.add("snapshot-schedule", &o.snapshot_schedule, "SPAN",
        "take a snapshot every so often, such as 6h (default: none)");
  f.add("snapshot-retention", &o.snapshot_retention, "N", "how many of them are kept (default 5)");
  f.add("snapshot-dir", &o.snapshot_dir, "DIR", "where they are kept (default DATA_DIR/snapshots)");
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

Result<void> check_cluster(const ServerOptions& o) {
  if (o.cluster_init && !o.server.empty()) {
    return bad("--cluster-init begins a cluster and --server joins one: give one of them");
  }
  if (o.cluster_reset && (o.cluster_init || !o.server.empty())) {
    return bad("--cluster-reset goes with neither --cluster-init nor --server");
  }
  const bool several = o.cluster_init || o.cluster_reset || !o.server.empty();
  if (o.external_datastore() && (o.cluster_init || o.cluster_reset)) {
    return bad(
        "servers over one etcd are a cluster without more ado: leave out --cluster-init and "
        "--cluster-reset");
  }
  if (several && !o.external_datastore() && o.datastore != "sqlite") {
    return bad("several servers keep their state on disk: leave out --datastore " + o.datastore);
  }
  if (!o.server.empty() && !o.server.starts_with("https://")) {
    return bad("--server " + o.server + ": want https://HOST:PORT");
  }
  return {};
}

Result<void> check_store(ServerOptions& o) {
  if (o.datastore != "sqlite" && o.datastore != "memory" && !o.external_datastore()) {
    return bad("unknown --datastore \"" + o.datastore +
               "\": use sqlite, memory or the http(s):// address of an etcd");
  }
  if (o.durability != "full" && o.durability != "relaxed") {
    return bad("unknown --durability \"" + o.durability + "\": use full or relaxed");
  }
  const std::string* needs_etcd[] = {&o.datastore_ca, &o.datastore_cert, &o.datastore_key,
                                     &o.datastore_user, &o.datastore_password};
  for (const std::string* value : needs_etcd) {
    if (o.external_datastore() || value->empty()) continue;
    return bad("--datastore-... flags are for an etcd: give its address with --datastore");
  }
  if (o.datastore_user.empty() != o.datastore_password.empty()) {
    return bad("--datastore-user and --datastore-password-file: give both or none");
  }
  if (o.datastore_cert.empty() != o.datastore_key.empty()) {
    return bad("--datastore-certfile and --datastore-keyfile: give both or none");
  }
  if (o.history.empty()) o.history = o.external_datastore() ? "1h" : "24h";
  const auto age = parse_span(o.history);
  if (!age) return annotate(age.error(), "--history");
  o.history_age = *age;
  const auto size = api::Quantity::parse(o.history_bytes);
  if (!size || size->negative()) {
    return bad("--history-bytes " + o.history_bytes + ": want a size such as 256Mi or 1G");
  }
  o.history_size = static_cast<std::size_t>(size->value());
  const auto every = parse_span(o.snapshot_schedule);
  if (!every) return annotate(every.error(), "--snapshot-schedule");
  o.snapshot_every = *every;
  if (o.snapshot_retention < 1) return bad("--snapshot-retention: want 1 or more");
  if (!o.encryption_keys.empty() && !o.encryption_keys_command.empty()) {
    return bad("--encryption-keys and --encryption-keys-command: give one of them");
  }
  return {};
}

Result<void> check(ServerOptions& o) {
  SKIFF_CHECK(check_store(o));
  SKIFF_CHECK(check_cluster(o));
  if (o.sim_nodes != 0)
    return bad("this version of skiff has no simulated nodes: leave out --sim-nodes");
  if (o.https_port < 1 || o.https_port > 65535 || o.kubelet_port < 1 || o.kubelet_port > 65535) {
    return bad("ports lie between 1 and 65535");
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

bool ServerOptions::external_datastore() const {
  return datastore.starts_with("http://") || datastore.starts_with("https://");
}

std::string ServerOptions::own_url() const {
  const bool v6 = node_ip.find(':') != std::string::npos;
  return "https://" + (v6 ? "[" + node_ip + "]" : node_ip) + ":" + std::to_string(https_port);
}

Result<Duration> parse_span(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::int64_t kMost = 1'000'000;
  const bool good = error == std::errc() && number >= 0 && number <= kMost;
  if (good && unit == "s") return Duration(std::chrono::seconds(number));
  if (good && unit == "m") return Duration(std::chrono::minutes(number));
  if (good && unit == "h" && number <= kMost / 24) return Duration(std::chrono::hours(number));
  if (good && unit == "d" && number <= kMost / 576)
    return Duration(std::chrono::hours(24 * number));
  if (good && unit.empty() && number == 0) return Duration::zero();
  return bad("\"" + std::string(text) + "\" is no span of time: write 90s, 30m, 24h or 7d");
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
  if (options.encrypt.empty()) options.encrypt = {"secrets"};
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
