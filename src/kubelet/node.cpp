#include "node.hpp"

#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

#include "skiff/api/quantity.hpp"
#include "status_writer.hpp"

namespace skiff::kubelet {
namespace {

using api::Quantity;
using api::Value;
using client::resources::kLeases;
using client::resources::kNodes;

constexpr Duration kLeaseInterval = 10s;
constexpr int kLeaseSeconds = 40;
constexpr Duration kStatusInterval = 5min;
constexpr std::size_t kMaxImages = 50;  // as many as upstream reports

std::string first_line(const char* path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::string os_release_name() {
  std::ifstream in("/etc/os-release");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("PRETTY_NAME=", 0) != 0) continue;
    std::string name = line.substr(12);
    std::erase(name, '"');
    return name;
  }
  return "Linux";
}

std::string go_architecture(const std::string& machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine.rfind("arm", 0) == 0) return "arm";
  return machine;
}

std::string ki(std::int64_t bytes) { return std::to_string(bytes / 1024) + "Ki"; }

}  // namespace

Machine read_machine(const std::string& data_dir) {
  Machine m;
  m.cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  m.memory_bytes = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  struct statvfs fs {};
  if (::statvfs(data_dir.c_str(), &fs) == 0) {
    m.disk_bytes = static_cast<std::int64_t>(fs.f_blocks) * static_cast<std::int64_t>(fs.f_frsize);
  }
  m.machine_id = first_line("/etc/machine-id");
  m.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  m.system_uuid = first_line("/sys/class/dmi/id/product_uuid");
  if (m.system_uuid.empty()) m.system_uuid = m.machine_id;
  utsname names{};
  ::uname(&names);
  m.kernel_version = names.release;
  m.architecture = go_architecture(names.machine);
  m.os_image = os_release_name();
  return m;
}

NodeReporter::NodeReporter(Env env, client::Client& client, runtime::Runtime& runtime,
                           runtime::ImageStore& images, const Options& options)
    : env_(env),
      client_(client),
      runtime_(runtime),
      images_(images),
      options_(options),
      machine_(read_machine(options.root_dir)) {
  allocatable_ = {{"cpu", std::to_string(machine_.cpus)},
                  {"memory", ki(machine_.memory_bytes)},
                  // As upstream keeps 10% of the disk from pods.
                  {"ephemeral-storage", std::to_string(machine_.disk_bytes / 10 * 9)},
                  {"pods", std::to_string(options.max_pods)}};
}

void NodeReporter::set_network_ready(bool ready, std::string message) {
  network_ready_ = ready;
  network_message_ = std::move(message);
}

Value NodeReporter::conditions(const Value& before) const {
  const std::string now = format_time(env_.clock->wall());
  const runtime::RuntimeInfo info = runtime_.info();
  const bool ready = info.ready && network_ready_;
  const std::string why_not = !info.ready ? info.message : network_message_;
  Value list = Value::array();
  const auto add = [&](const char* type, bool value, const char* reason, std::string message) {
    const char* status = value ? "True" : "False";
    Value c = Value::object({{"type", type}, {"status", status}});
    c.set("lastHeartbeatTime", now);
    c.set("lastTransitionTime", now);
    for (const Value& old : before["conditions"].items()) {
      if (old["type"].as_string() == type && old["status"].as_string() == status) {
        c.set("lastTransitionTime", old["lastTransitionTime"]);
      }
    }
    c.set("reason", reason);
    c.set("message", std::move(message));
    list.push_back(std::move(c));
  };
  add("MemoryPressure", false, "KubeletHasSufficientMemory",
      "kubelet has sufficient memory available");
  add("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure");
  add("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available");
  add("Ready", ready, ready ? "KubeletReady" : "KubeletNotReady",
      ready ? "kubelet is posting ready status" : why_not);
  return list;
}

Task<Value> NodeReporter::make_status(const Value& before) {
  Value status = Value::object();
  Value capacity = Value::object({{"cpu", Value(allocatable_.at("cpu"))},
                                  {"ephemeral-storage", Value(ki(machine_.disk_bytes))},
                                  {"memory", Value(allocatable_.at("memory"))},
                                  {"pods", Value(allocatable_.at("pods"))}});
  Value allocatable = Value::object();
  for (const auto& [name, amount] : allocatable_) allocatable.set(name, amount);
  status.set("capacity", std::move(capacity));
  status.set("allocatable", std::move(allocatable));
  status.set("conditions", conditions(before));
  status.set("addresses",
             Value::array(
                 {Value::object({{"type", "InternalIP"}, {"address", Value(options_.node_ip)}}),
                  Value::object({{"type", "Hostname"}, {"address", Value(options_.node_name)}})}));
  status.member("daemonEndpoints")
      .set("kubeletEndpoint", Value::object({{"Port", static_cast<int>(options_.port)}}));
  const runtime::RuntimeInfo info = runtime_.info();
  Value node_info = Value::object({{"machineID", Value(machine_.machine_id)},
                                   {"systemUUID", Value(machine_.system_uuid)},
                                   {"bootID", Value(machine_.boot_id)},
                                   {"kernelVersion", Value(machine_.kernel_version)},
                                   {"osImage", Value(machine_.os_image)}});
  node_info.set("containerRuntimeVersion", info.name + "://" + info.version);
  node_info.set("kubeletVersion", options_.version);
  node_info.set("kubeProxyVersion", "");
  node_info.set("operatingSystem", "linux");
  node_info.set("architecture", machine_.architecture);
  status.set("nodeInfo", std::move(node_info));
  Value images = Value::array();
  if (const auto list = co_await images_.list()) {
    for (const runtime::Image& image : *list) {
      if (images.size() == kMaxImages) break;
      Value names = Value::array();
      for (const std::string& n : image.digests) names.push_back(n);
      for (const std::string& n : image.tags) names.push_back(n);
      Value entry = Value::object({{"names", std::move(names)}});
      entry.set("sizeBytes", static_cast<std::int64_t>(image.size));
      images.push_back(std::move(entry));
    }
  }
  status.set("images", std::move(images));
  co_return status;
}

Task<void> NodeReporter::register_node() {
  Value node = Value::object({{"apiVersion", "v1"}, {"kind", "Node"}});
  Value labels = Value::object({{"beta.kubernetes.io/arch", Value(machine_.architecture)},
                                {"beta.kubernetes.io/os", "linux"},
                                {"kubernetes.io/arch", Value(machine_.architecture)},
                                {"kubernetes.io/hostname", Value(options_.node_name)},
                                {"kubernetes.io/os", "linux"}});
  for (const auto& [k, v] : options_.node_labels) labels.set(k, v);
  const Value node_labels = labels;
  Value metadata = Value::object({{"name", Value(options_.node_name)}});
  metadata.set("labels", std::move(labels));
  node.set("metadata", std::move(metadata));
  const client::Ref ref = kNodes.at("", options_.node_name);
  for (;;) {
    Result<ObjectPtr> known = co_await client_.get(ref);
    if (!known && known.error().code == Code::not_found) {
      Value fresh = node;
      fresh.set("status", co_await make_status(Value()));
      if (!network_ready_) fresh.member("status").erase("conditions");
      known = co_await client_.create(kNodes, std::move(fresh));
    } else if (known) {
      Value patch = Value::object({{"metadata", Value::object({{"labels", node_labels}})}});
      known = co_await client_.patch(ref, api::PatchType::merge, std::move(patch));
    }
    if (known && !network_ready_) co_return;
    if (known && co_await write_status()) co_return;
    if (!known) log::warn("kubelet", "node not registered yet", {{"error", known.error()}});
    co_await env_.clock->sleep_for(1s);
  }
}

Task<void> NodeReporter::report() {
  for (;;) {
    const Result<void> written = co_await write_status();
    if (written) co_return;
    log::warn("kubelet", "node status not written", {{"error", written.error()}});
    co_await env_.clock->sleep_for(1s);
  }
}

Task<Result<void>> NodeReporter::write_status() {
  const client::Ref ref = kNodes.at("", options_.node_name);
  SKIFF_CO_TRY(const ObjectPtr node, co_await client_.get(ref));
  Value status = co_await make_status((*node)["status"]);
  // Heartbeat times alone are not worth a write to the disk: the lease says that the node is alive.
  Value without_heartbeat = status;
  for (Value& c : without_heartbeat.member("conditions").mutable_items())
    c.erase("lastHeartbeatTime");
  const TimePoint now = env_.clock->now();
  if (covers((*node)["status"], without_heartbeat)) {
    status_written_ = now;
    co_return Result<void>();
  }
  Value patch = Value::object();
  patch.set("status", std::move(status));
  SKIFF_CO_CHECK(
      co_await client_.patch(ref.sub("status"), api::PatchType::strategic, std::move(patch)));
  status_written_ = now;
  co_return Result<void>();
}

Task<void> NodeReporter::renew_lease() {
  const client::Ref ref = kLeases.at("kube-node-lease", options_.node_name);
  const std::string now = format_micro_time(env_.clock->wall());
  if (lease_.is_null()) {
    const Result<ObjectPtr> known = co_await client_.get(ref);
    if (known) lease_ = (*known)->root();
  }
  Result<ObjectPtr> written = Error{Code::internal, ""};
  if (lease_.is_null()) {
    Value lease = Value::object({{"apiVersion", "coordination.k8s.io/v1"}, {"kind", "Lease"}});
    Value metadata = Value::object({{"name", Value(options_.node_name)}});
    metadata.set("namespace", "kube-node-lease");
    if (const auto node = co_await client_.get(kNodes.at("", options_.node_name))) {
      Value owner = Value::object({{"apiVersion", "v1"}, {"kind", "Node"}});
      owner.set("name", options_.node_name);
      owner.set("uid", (*node)->uid());
      metadata.set("ownerReferences", Value::array({std::move(owner)}));
    }
    lease.set("metadata", std::move(metadata));
    Value spec = Value::object({{"holderIdentity", Value(options_.node_name)}});
    spec.set("leaseDurationSeconds", kLeaseSeconds);
    spec.set("renewTime", now);
    lease.set("spec", std::move(spec));
    written = co_await client_.create(ref.at("kube-node-lease", ""), std::move(lease));
  } else {
    Value lease = lease_;
    lease.member("spec").set("renewTime", now);
    lease.member("spec").set("holderIdentity", options_.node_name);
    written = co_await client_.update(ref, std::move(lease));
  }
  if (written) {
    lease_ = (*written)->root();
  } else {
    lease_ = Value();  // conflict or gone: read it anew
    log::debug("kubelet", "lease not renewed", {{"error", written.error()}});
  }
}

Task<void> NodeReporter::run() {
  for (;;) {
    co_await renew_lease();
    if (env_.clock->now() - status_written_ >= kStatusInterval) {
      const Result<void> written = co_await write_status();
      if (!written) log::warn("kubelet", "node status not written", {{"error", written.error()}});
    }
    co_await env_.clock->sleep_for(kLeaseInterval);
  }
}

}  // namespace skiff::kubelet
