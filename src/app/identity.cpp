#include "identity.hpp"

#include <algorithm>
#include <set>

#include "skiff/linux/netlink.hpp"
#include "skiff/pki/keys.hpp"

namespace skiff::app {
namespace {

using pki::Certificate;
using pki::CertificateAuthority;
using pki::KeyPair;
using pki::LeafOptions;

bool covers(const std::vector<std::string>& have, const std::vector<std::string>& want) {
  const std::set<std::string> set(have.begin(), have.end());
  return std::all_of(want.begin(), want.end(),
                     [&](const std::string& name) { return set.contains(name); });
}

// The certificate on disk when it still says all of `wanted`, comes from `ca` and is not due for
// renewal.
Result<KeyPair> load_or_issue(const Env& env, const CertificateAuthority& ca,
                              const std::string& directory, const std::string& name,
                              const LeafOptions& wanted) {
  const Result<KeyPair> kept = pki::load_key_pair(directory, name);
  const bool replaceable =
      kept || kept.error().code == Code::not_found || kept.error().code == Code::conflict;
  if (!replaceable) return kept.error();
  if (kept) {
    const Result<Certificate> certificate = Certificate::from_pem(kept->certificate_pem);
    const WallTime now = pki::plausible_time(env.clock->wall(), ca.certificate().not_before());
    if (certificate && certificate->subject() == wanted.subject &&
        covers(certificate->dns_names(), wanted.dns_names) &&
        covers(certificate->ip_addresses(), wanted.ip_addresses) && now < certificate->renew_at() &&
        pki::verify_chain(kept->certificate_pem, ca.certificate().to_pem(), now)) {
      return kept;
    }
  }
  SKIFF_TRY(KeyPair fresh, ca.issue(*env.clock, *env.random, wanted));
  SKIFF_CHECK(pki::save_key_pair(directory, name, fresh));
  return fresh;
}

LeafOptions client_leaf(std::string name, std::vector<std::string> organizations) {
  LeafOptions leaf;
  leaf.subject = {std::move(name), std::move(organizations)};
  leaf.client = true;
  return leaf;
}

LeafOptions server_leaf(const ServerOptions& options, const std::string& service_ip) {
  LeafOptions leaf;
  leaf.subject = {"kube-apiserver", {}};
  leaf.server = true;
  leaf.dns_names = {"localhost",
                    options.node_name,
                    "kubernetes",
                    "kubernetes.default",
                    "kubernetes.default.svc",
                    "kubernetes.default.svc." + options.cluster_domain};
  leaf.ip_addresses = {"127.0.0.1", "::1", options.node_ip, service_ip};
  if (netlink::IpAddress::parse(options.bind_address).has_value() &&
      options.bind_address != "0.0.0.0" && options.bind_address != "::") {
    leaf.ip_addresses.push_back(options.bind_address);
  }
  for (const std::string& name : options.tls_san) {
    (netlink::IpAddress::parse(name) ? leaf.ip_addresses : leaf.dns_names).push_back(name);
  }
  for (auto* list : {&leaf.dns_names, &leaf.ip_addresses}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
    std::erase(*list, "");
  }
  return leaf;
}

Result<std::string> load_or_make_key(const Env& env, const std::string& path) {
  Result<std::string> kept = pki::read_file(path);
  if (kept) {
    SKIFF_TRY([[maybe_unused]] const auto key, pki::PrivateKey::from_pem(*kept));
    return kept;
  }
  if (kept.error().code != Code::not_found) return kept.error();
  const std::string pem = pki::PrivateKey::generate(*env.random).to_pem();
  SKIFF_CHECK(pki::write_private_file(path, pem));
  return pem;
}

}  // namespace

Result<Identity> load_or_make_identity(const Env& env, const ServerOptions& options,
                                       const std::string& service_ip) {
  const std::string directory = options.data_dir + "/pki";
  SKIFF_TRY(
      const CertificateAuthority ca,
      CertificateAuthority::load_or_create(*env.clock, *env.random, directory, "ca", "skiff-ca"));
  Identity out;
  out.ca_pem = ca.certificate().to_pem();
  out.cluster_id = ca.certificate().fingerprint();
  SKIFF_TRY(out.server,
            load_or_issue(env, ca, directory, "server", server_leaf(options, service_ip)));
  SKIFF_TRY(out.admin, load_or_issue(env, ca, directory, "admin",
                                     client_leaf("system:admin", {"system:masters"})));
  SKIFF_TRY(out.node_api_user, load_or_issue(env, ca, directory, "node-api-user",
                                             client_leaf("kube-apiserver-kubelet-client", {})));
  SKIFF_TRY(out.peer, load_or_issue(env, ca, directory, "peer",
                                    client_leaf(options.node_name, {"skiff:servers"})));
  LeafOptions kubelet;
  kubelet.subject = {"system:node:" + options.node_name, {"system:nodes"}};
  kubelet.server = true;
  kubelet.dns_names = {options.node_name};
  kubelet.ip_addresses = {options.node_ip, "127.0.0.1"};
  SKIFF_TRY(out.kubelet, load_or_issue(env, ca, directory, "kubelet", kubelet));
  SKIFF_TRY(out.service_account_key_pem, load_or_make_key(env, directory + "/service-account.key"));
  out.renew_at = WallTime::max();
  for (const KeyPair* pair :
       {&out.server, &out.admin, &out.node_api_user, &out.peer, &out.kubelet}) {
    SKIFF_TRY(const Certificate leaf, Certificate::from_pem(pair->certificate_pem));
    out.renew_at = std::min(out.renew_at, leaf.renew_at());
  }
  return out;
}

Task<void> keep_identity_fresh(Env env, ServerOptions options, std::string service_ip,
                               WallTime renew_at, std::function<void(const Identity&)> renewed) {
  // Calendar time may jump: it is looked at again now and then, however far off the date is.
  constexpr Duration kLongest = 12h;
  constexpr Duration kRetry = 10min;
  for (;;) {
    const WallTime now = env.clock->wall();
    if (now < renew_at) {
      const Duration left = renew_at - now;
      co_await env.clock->sleep_for(std::min(left, kLongest));
      continue;
    }
    const auto make = [&] { return load_or_make_identity(env, options, service_ip); };
    const Result<Identity> fresh = co_await env.blocking->run(make);
    if (!fresh || fresh->renew_at <= now) {
      const std::string why =
          fresh ? "the certificate authority itself is about to expire" : fresh.error().message;
      log::error("app", "certificates cannot be renewed; trying again", {{"error", why}});
      co_await env.clock->sleep_for(kRetry);
      continue;
    }
    renew_at = fresh->renew_at;
    renewed(*fresh);
    log::info("app", "certificates renewed", {{"next", format_time(renew_at)}});
  }
}

std::string make_kubeconfig(const Identity& identity, const std::string& server) {
  const auto data = [](const std::string& pem) { return pki::base64_encode(pem); };
  return "apiVersion: v1\nkind: Config\nclusters:\n- name: skiff\n  cluster:\n    server: " +
         server + "\n    certificate-authority-data: " + data(identity.ca_pem) +
         "\nusers:\n- name: skiff-admin\n  user:\n    client-certificate-data: " +
         data(identity.admin.certificate_pem) +
         "\n    client-key-data: " + data(identity.admin.key_pem) +
         "\ncontexts:\n- name: skiff\n  context:\n    cluster: skiff\n    user: skiff-admin\n"
         "current-context: skiff\n";
}

}  // namespace skiff::app
