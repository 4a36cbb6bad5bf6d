// The Node object: registration, status, and the lease that says this node is alive.
#pragma once

#include <map>
#include <string>

#include "skiff/client/client.hpp"
#include "skiff/kubelet/kubelet.hpp"

namespace skiff::kubelet {

// What the machine has, read once.
struct Machine {
  std::int64_t cpus = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t disk_bytes = 0;
  std::string machine_id;
  std::string boot_id;
  std::string system_uuid;
  std::string kernel_version;
  std::string os_image;
  std::string architecture;  // as Go names it: amd64, arm64
};
Machine read_machine(const std::string& data_dir);

class NodeReporter {
 public:
  NodeReporter(Env env, client::Client& client, runtime::Runtime& runtime,
               runtime::ImageStore& images, const Options& options);

  // Makes the Node or brings an existing one up to date. Tried again until it succeeds. While the
  // network is not ready, nothing is said of conditions: report() comes next.
  Task<void> register_node();
  // Writes the status if it changed. Tried again until it succeeds.
  Task<void> report();
  // Renews the lease every 10 s (KEP-589) and the status when it changed, at most every 10 s, else
  // every 5 minutes. Runs until cancelled.
  Task<void> run();
  // allocatable as text, for the downward API.
  const std::map<std::string, std::string>& allocatable() const noexcept { return allocatable_; }
  void set_network_ready(bool ready, std::string message);

 private:
  using Value = api::Value;
  Task<Value> make_status(const Value& before);
  Value conditions(const Value& before) const;
  Task<Result<void>> write_status();
  Task<void> renew_lease();

  Env env_;
  client::Client& client_;
  runtime::Runtime& runtime_;
  runtime::ImageStore& images_;
  const Options& options_;
  Machine machine_;
  std::map<std::string, std::string> allocatable_;
  bool network_ready_ = true;
  std::string network_message_;
  Value lease_;
  Value last_status_;
  TimePoint status_written_{};
};

}  // namespace skiff::kubelet
