#include "container_config.hpp"

#include <unistd.h>

#include "skiff/api/quantity.hpp"

namespace skiff::kubelet {
namespace {

Error invalid(std::string message) { return {Code::invalid, std::move(message)}; }

std::int64_t milli_of(const Value& quantities, const char* name) {
  const auto q = api::Quantity::parse(quantities[name].as_string());
  return q ? q->milli_value() : 0;
}

std::int64_t bytes_of(const Value& quantities, const char* name) {
  const auto q = api::Quantity::parse(quantities[name].as_string());
  return q ? q->value() : 0;
}

constexpr std::int64_t kPeriodUs = 100'000;

std::int64_t quota_of(std::int64_t milli) {
  // The kernel refuses quotas under 1 ms.
  return milli > 0 ? std::max<std::int64_t>(1000, milli * kPeriodUs / 1000) : 0;
}

// Upstream's rule: the less of its memory request a pod uses, the later it is killed.
std::int64_t oom_score_of(const std::string& qos, std::int64_t request_bytes) {
  if (qos == "guaranteed") return -997;
  if (qos == "besteffort") return 1000;
  const std::int64_t capacity =
      static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  const std::int64_t score = 1000 - 1000 * request_bytes / std::max<std::int64_t>(1, capacity);
  return std::clamp<std::int64_t>(score, 3, 999);
}

runtime::Resources container_resources(const Value& container, const std::string& qos) {
  const Value& requests = container["resources"]["requests"];
  const Value& limits = container["resources"]["limits"];
  runtime::Resources r;
  const std::int64_t milli = milli_of(requests, "cpu");
  r.cpu_shares =
      static_cast<std::uint64_t>(std::clamp<std::int64_t>(milli * 1024 / 1000, 2, 262144));
  r.cpu_quota_us = quota_of(milli_of(limits, "cpu"));
  r.cpu_period_us = kPeriodUs;
  r.memory_limit_bytes = bytes_of(limits, "memory");
  r.oom_score_adj = oom_score_of(qos, bytes_of(requests, "memory"));
  return r;
}

// The pod's own group: limited only when every container is.
runtime::Resources pod_resources(const Value& pod) {
  std::int64_t milli = 0, limit_milli = 0, limit_bytes = 0;
  bool all_cpu = true;
  bool all_memory = true;
  for (const Value& c : pod["spec"]["containers"].items()) {
    const Value& limits = c["resources"]["limits"];
    milli += milli_of(c["resources"]["requests"], "cpu");
    limit_milli += milli_of(limits, "cpu");
    limit_bytes += bytes_of(limits, "memory");
    all_cpu = all_cpu && limits.has("cpu");
    all_memory = all_memory && limits.has("memory");
  }
  for (const Value& c : pod["spec"]["initContainers"].items()) {
    const Value& limits = c["resources"]["limits"];
    all_cpu = all_cpu && limits.has("cpu");
    all_memory = all_memory && limits.has("memory");
    if (is_sidecar(c)) {
      milli += milli_of(c["resources"]["requests"], "cpu");
      limit_milli += milli_of(limits, "cpu");
      limit_bytes += bytes_of(limits, "memory");
    } else {
      limit_milli = std::max(limit_milli, milli_of(limits, "cpu"));
      limit_bytes = std::max(limit_bytes, bytes_of(limits, "memory"));
    }
  }
  runtime::Resources r;
  r.cpu_shares =
      static_cast<std::uint64_t>(std::clamp<std::int64_t>(milli * 1024 / 1000, 2, 262144));
  if (all_cpu) r.cpu_quota_us = quota_of(limit_milli);
  if (all_memory) r.memory_limit_bytes = limit_bytes;
  return r;
}

// The container's own setting, else the pod's.
const Value& setting(const Value& pod, const Value& container, const char* name) {
  const Value& own = container["securityContext"][name];
  return own.is_null() ? pod["spec"]["securityContext"][name] : own;
}

Result<void> check_non_root(const runtime::SecurityContext& security, const std::string& image_user,
                            const std::string& who) {
  if (security.run_as_user) {
    if (*security.run_as_user != 0) return {};
    return invalid("container's runAsUser breaks non-root policy " + who);
  }
  const std::string user = image_user.substr(0, image_user.find(':'));
  if (user.empty() || user == "0") {
    return invalid("container has runAsNonRoot and image will run as root " + who);
  }
  if (user.find_first_not_of("0123456789") != std::string::npos) {
    return invalid("container has runAsNonRoot and image has non-numeric user (" + user +
                   "), cannot verify user is non-root " + who);
  }
  return {};
}

Result<runtime::SecurityContext> security_context(const Value& pod, const Value& container,
                                                  const runtime::Image& image) {
  runtime::SecurityContext s;
  const Value& own = container["securityContext"];
  s.privileged = own["privileged"].as_bool();
  s.no_new_privileges = own["allowPrivilegeEscalation"].is_bool() &&
                        !own["allowPrivilegeEscalation"].as_bool() && !s.privileged;
  s.read_only_root = own["readOnlyRootFilesystem"].as_bool();
  for (const Value& c : own["capabilities"]["add"].items()) {
    s.add_capabilities.push_back(c.as_string());
  }
  for (const Value& c : own["capabilities"]["drop"].items()) {
    s.drop_capabilities.push_back(c.as_string());
  }
  const Value& user = setting(pod, container, "runAsUser");
  if (user.is_int()) s.run_as_user = user.as_int();
  const Value& group = setting(pod, container, "runAsGroup");
  if (group.is_int()) s.run_as_group = group.as_int();
  const Value& of_pod = pod["spec"]["securityContext"];
  for (const Value& g : of_pod["supplementalGroups"].items()) {
    s.supplemental_groups.push_back(g.as_int());
  }
  if (of_pod["fsGroup"].is_int()) s.supplemental_groups.push_back(of_pod["fsGroup"].as_int());
  s.strict_supplemental_groups = of_pod["supplementalGroupsPolicy"].as_string() == "Strict";
  const Value& seccomp = setting(pod, container, "seccompProfile");
  if (seccomp["type"].as_string() == "Unconfined")
    s.seccomp.type = runtime::SeccompType::unconfined;
  if (seccomp["type"].as_string() == "Localhost") {
    s.seccomp = {runtime::SeccompType::localhost, seccomp["localhostProfile"].as_string()};
  }
  if (own["procMount"].as_string() == "Unmasked") {
    s.masked_paths.emplace();
    s.readonly_paths.emplace();
  }
  if (setting(pod, container, "runAsNonRoot").as_bool()) {
    const std::string who =
        "(pod: \"" + pod_label(pod) + "\", container: " + container["name"].as_string() + ")";
    SKIFF_CHECK(check_non_root(s, image.config.user, who));
  }
  return s;
}

runtime::DnsConfig dns_config(const Value& pod, const Options& options) {
  runtime::DnsConfig dns;
  const std::string ns = pod["metadata"]["namespace"].as_string();
  if (pod["spec"]["dnsPolicy"].as_string() != "None") {
    dns.servers = {options.cluster_dns};
    dns.searches = {ns + ".svc." + options.cluster_domain, "svc." + options.cluster_domain,
                    options.cluster_domain};
    dns.options = {"ndots:5"};
  }
  const Value& extra = pod["spec"]["dnsConfig"];
  for (const Value& v : extra["nameservers"].items()) dns.servers.push_back(v.as_string());
  for (const Value& v : extra["searches"].items()) dns.searches.push_back(v.as_string());
  for (const Value& v : extra["options"].items()) {
    const std::string name = v["name"].as_string();
    std::erase_if(dns.options, [&](const std::string& o) { return o.rfind(name + ":", 0) == 0; });
    dns.options.push_back(v.has("value") ? name + ":" + v["value"].as_string() : name);
  }
  return dns;
}

}  // namespace

std::string log_directory_name(const Value& pod) {
  const Value& m = pod["metadata"];
  return m["namespace"].as_string() + "_" + m["name"].as_string() + "_" + m["uid"].as_string();
}

std::string hosts_file(const Value& pod, const std::string& pod_ip, const std::string& domain) {
  std::string out =
      "# Managed by skiff.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  const std::string host(pod["spec"]["hostname"].as_string_or(pod["metadata"]["name"].as_string()));
  const std::string& subdomain = pod["spec"]["subdomain"].as_string();
  if (!pod_ip.empty()) {
    out += pod_ip + "\t";
    if (!subdomain.empty()) {
      out += host + "." + subdomain + "." + pod["metadata"]["namespace"].as_string() + ".svc." +
             domain + "\t";
    }
    out += host + "\n";
  }
  for (const Value& alias : pod["spec"]["hostAliases"].items()) {
    out += alias["ip"].as_string();
    for (const Value& name : alias["hostnames"].items()) out += "\t" + name.as_string();
    out += "\n";
  }
  return out;
}

runtime::SandboxConfig sandbox_config(const Value& pod, const Options& options,
                                      std::uint32_t attempt) {
  const Value& spec = pod["spec"];
  const Value& m = pod["metadata"];
  runtime::SandboxConfig c;
  c.name = m["name"].as_string();
  c.name_space = m["namespace"].as_string();
  c.uid = m["uid"].as_string();
  c.attempt = attempt;
  for (const auto& [k, v] : m["labels"].members()) c.labels[std::string(k)] = v.as_string();
  for (const auto& [k, v] : m["annotations"].members())
    c.annotations[std::string(k)] = v.as_string();
  c.host_network = spec["hostNetwork"].as_bool();
  c.host_pid = spec["hostPID"].as_bool();
  c.host_ipc = spec["hostIPC"].as_bool();
  c.share_process_namespace = spec["shareProcessNamespace"].as_bool();
  if (!c.host_network) {
    c.hostname = std::string(spec["hostname"].as_string_or(c.name)).substr(0, 63);
    while (!c.hostname.empty() && (c.hostname.back() == '-' || c.hostname.back() == '.')) {
      c.hostname.pop_back();
    }
  }
  c.log_directory = options.log_dir + "/" + log_directory_name(pod);
  const std::string_view policy = spec["dnsPolicy"].as_string_or("ClusterFirst");
  const bool cluster_first =
      policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !c.host_network);
  if (policy == "None" || (cluster_first && !options.cluster_dns.empty()) ||
      spec["dnsConfig"].is_object()) {
    c.dns = dns_config(pod, options);
    if (c.dns->servers.size() == 1 && c.dns->servers[0].empty()) c.dns.reset();
  }
  c.qos_class = qos_class_of(pod);
  c.resources = pod_resources(pod);
  for (const Value& s : spec["securityContext"]["sysctls"].items()) {
    c.sysctls[s["name"].as_string()] = s["value"].as_string();
  }
  return c;
}

Result<runtime::ContainerConfig> container_config(const Value& pod, const Value& container,
                                                  const runtime::Image& image,
                                                  const Environment& environment) {
  runtime::ContainerConfig c;
  c.name = container["name"].as_string();
  c.image = container["image"].as_string();
  c.image_id = image.id;
  c.image_config = image.config;
  c.rootfs.lower_dirs = image.layers;
  for (const Value& part : container["command"].items()) {
    c.command.push_back(expand(part.as_string(), environment));
  }
  for (const Value& part : container["args"].items()) {
    c.args.push_back(expand(part.as_string(), environment));
  }
  c.working_dir = container["workingDir"].as_string();
  c.env = environment;
  c.stdin_open = container["stdin"].as_bool();
  c.stdin_once = container["stdinOnce"].as_bool();
  c.tty = container["tty"].as_bool();
  c.stop_signal = container["lifecycle"]["stopSignal"].as_string();
  c.resources = container_resources(container, qos_class_of(pod));
  SKIFF_TRY(c.security, security_context(pod, container, image));
  return c;
}

}  // namespace skiff::kubelet
