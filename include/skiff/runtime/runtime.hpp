// Pods' sandboxes and containers on this machine: the kubelet's door to them, shaped like the CRI
// (k8s.io/cri-api, runtime.v1). Images are images.hpp's business.
//
// A sandbox is a pod's network, IPC and UTS namespaces, held by one shim process (shim.hpp), which
// is also the parent of the pod's containers: they outlive skiff. A container is an OCI bundle
// (runtime-spec 1.0 config.json) that an OciExecutor turns into a process.
//
// STATE_DIR/                      volatile: nothing in it means anything after a reboot
//   sandboxes/ID/                 sandbox.json, shim.sock, resolv.conf, hostname, hosts, shm/
//   sandboxes/ID/containers/CID/  container.json, config.json (the bundle), rootfs/, start, exit
//   netns/ID                      the pod's network namespace, pinned by a bind mount
// DATA_DIR/containers/CID/        the container's writable layer: upper/ and work/
//
// Threading: everything belongs to the loop; file and cgroup work runs in env.blocking. Calls for
// different sandboxes run side by side; calls for one container are put in order by the Runtime.
// A cancelled call leaves nothing half-made that recover() or the same call again does not mend.
//
// Failures: not_found (no such id), already_exists, conflict (wrong state for the call), timeout,
// forbidden (privilege is missing; the message says which), unavailable (the shim is gone).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

using StringMap = std::map<std::string, std::string>;

// Zero (or empty) means: not limited, not set.
struct Resources {
  std::uint64_t cpu_shares = 0;   // cgroup v1 scale, 2..262144; v2's weight is derived
  std::int64_t cpu_quota_us = 0;  // per cpu_period_us; -1: unlimited
  std::uint64_t cpu_period_us = 100'000;
  std::int64_t memory_limit_bytes = 0;    // -1: unlimited
  std::int64_t memory_request_bytes = 0;  // v2 memory.min when MemoryQoS asks for it; else 0
  std::int64_t pids_limit = 0;            // -1: unlimited
  std::int64_t oom_score_adj = 0;
};

struct DnsConfig {
  std::vector<std::string> servers;
  std::vector<std::string> searches;
  std::vector<std::string> options;
};

struct SandboxConfig {
  // The pod's.
  std::string name;
  std::string name_space;
  std::string uid;
  std::uint32_t attempt = 0;
  StringMap labels;
  StringMap annotations;

  std::string hostname;                  // "": the host's (host network)
  std::string log_directory;             // containers' log_path is relative to it
  std::optional<DnsConfig> dns;          // absent: the host's /etc/resolv.conf
  std::string qos_class = "besteffort";  // guaranteed | burstable | besteffort: a cgroup's name
  Resources resources;                   // of the whole pod: the pod's cgroup
  bool host_network = false;
  bool host_pid = false;
  bool host_ipc = false;
  bool share_process_namespace = false;
  StringMap sysctls;  // "net.ipv4.ip_local_port_range" -> "1024 65000"
  std::int64_t shm_size_bytes = 64 << 20;
  std::string runtime_handler;  // RuntimeClass handler; only "" (the built-in executor) is known
};

enum class Propagation : std::uint8_t { none, host_to_container, bidirectional };

struct Mount {
  std::string container_path;
  std::string host_path;
  std::string sub_path;  // below host_path, made (0750) when missing; may not lead out of it
  bool read_only = false;
  bool recursive_read_only = false;
  Propagation propagation = Propagation::none;
};

// One of the host's device nodes, as devices.allow and the container's /dev see it.
struct Device {
  std::string host_path;
  std::string container_path;
  std::string permissions = "rwm";
};

enum class SeccompType : std::uint8_t { runtime_default, unconfined, localhost };
struct SeccompChoice {
  SeccompType type = SeccompType::runtime_default;
  std::string localhost_path;  // a profile in the containers/common JSON form
};

struct SecurityContext {
  bool privileged = false;
  bool no_new_privileges = false;  // !allowPrivilegeEscalation
  bool read_only_root = false;
  std::vector<std::string> add_capabilities;  // "NET_ADMIN", "CAP_NET_ADMIN", "ALL"
  std::vector<std::string> drop_capabilities;
  std::optional<std::int64_t> run_as_user;
  std::optional<std::int64_t> run_as_group;
  std::string run_as_username;  // used when run_as_user is absent; "": the image's user
  std::vector<std::int64_t> supplemental_groups;
  bool strict_supplemental_groups = false;  // KEP-3619: do not merge /etc/group's memberships
  SeccompChoice seccomp;
  // Absent: the default lists; empty: none (procMount: Unmasked).
  std::optional<std::vector<std::string>> masked_paths;
  std::optional<std::vector<std::string>> readonly_paths;
};

// Where a container's file system comes from: unpacked layers, lowest first (Image::layers).
struct RootFs {
  std::vector<std::string> lower_dirs;
};

struct ContainerConfig {
  std::string name;
  std::uint32_t attempt = 0;
  std::string image;         // as the pod wrote it
  std::string image_id;      // Image::id
  ImageConfig image_config;  // what command, args, working_dir and user fall back to
  RootFs rootfs;
  StringMap labels;
  StringMap annotations;

  std::vector<std::string> command;  // replaces the entrypoint; then the image's cmd is not used
  std::vector<std::string> args;     // replaces the image's cmd
  std::string working_dir;
  std::vector<std::pair<std::string, std::string>> env;
  std::vector<Mount> mounts;
  std::vector<Device> devices;
  // Relative to the sandbox's log_directory; "": the container's output is thrown away.
  std::string log_path;
  std::uint64_t log_max_bytes = 10 << 20;  // containerLogMaxSize
  std::uint32_t log_max_files = 5;         // containerLogMaxFiles
  bool stdin_open = false;
  bool stdin_once = false;
  bool tty = false;
  std::string stop_signal;  // "": the image's, else SIGTERM
  Resources resources;
  SecurityContext security;
  StringMap rlimits;  // "RLIMIT_NOFILE" -> "1024:4096"
};

enum class SandboxState : std::uint8_t { ready, not_ready };
enum class ContainerState : std::uint8_t { created, running, exited };

struct SandboxStatus {
  std::string id;  // 64 hex digits
  SandboxState state = SandboxState::not_ready;
  SandboxConfig config;
  WallTime created_at;
  std::string netns_path;  // "" with the host's network
  int shim_pid = 0;        // 0 when not ready
};

struct ContainerStatus {
  std::string id;  // 64 hex digits
  std::string sandbox_id;
  ContainerState state = ContainerState::created;
  ContainerConfig config;
  WallTime created_at;
  std::optional<WallTime> started_at;
  std::optional<WallTime> finished_at;
  int pid = 0;         // in skiff's PID namespace, while running
  int exit_code = 0;   // 128 + signal when killed by one; 128 when it could not be started
  int signal = 0;      // that ended it
  std::string reason;  // Completed, Error, OOMKilled, StartError, ContainerStatusUnknown
  std::string message;
  std::string log_path;              // absolute
  std::int64_t user = 0, group = 0;  // what it runs as
  std::vector<std::int64_t> groups;  // supplemental
};

struct Usage {
  WallTime at;
  std::uint64_t cpu_nanoseconds = 0;     // since it started
  std::uint64_t memory_usage = 0;        // bytes, page cache included
  std::uint64_t memory_working_set = 0;  // without inactive page cache
  std::uint64_t memory_rss = 0;
  std::uint64_t memory_limit = 0;  // 0: none
  std::uint64_t page_faults = 0;
  std::uint64_t major_page_faults = 0;
  std::uint64_t processes = 0;
};

struct ContainerUsage {
  std::string container_id;
  std::string sandbox_id;
  std::string name;
  Usage usage;
  std::uint64_t writable_layer_bytes = 0;
};

// A hint that something changed; the truth is in the status calls. Every change is announced.
struct RuntimeEvent {
  enum class Type : std::uint8_t {
    container_created,
    container_started,
    container_exited,
    container_removed,
    sandbox_started,
    sandbox_stopped,  // also: its shim died
    sandbox_removed,
    resync,  // events were dropped because nobody read them: list everything
  };
  Type type = Type::resync;
  std::string sandbox_id;
  std::string container_id;  // "" for sandboxes
  std::string pod_uid;
};

struct ExecRequest {
  std::vector<std::string> command;
  bool tty = false;
  bool stdin_open = false;
};

struct ExecResult {
  int exit_code = 0;  // 128 + signal
  std::string out;
  std::string err;
};

struct TerminalSize {
  std::uint16_t width = 0;
  std::uint16_t height = 0;
};

// A process started in a container, or a running container's own stdio, at the far end of three
// non-blocking descriptors; -1 where not asked for. With a tty, stdin and stdout are both its
// terminal (reading fails with EIO once nobody holds the other end) and there is no stderr.
class Stream {
 public:
  virtual ~Stream() = default;  // closes the descriptors that were not taken
  // Hands over ownership; -1 the second time.
  virtual int take_stdin() = 0;   // write end
  virtual int take_stdout() = 0;  // read end
  virtual int take_stderr() = 0;  // read end
  // Code::invalid without a tty.
  virtual Result<void> resize(TerminalSize size) = 0;
  // The exit code (128 + signal). unavailable when the shim went away meanwhile. Once.
  virtual Task<Result<int>> wait() = 0;
  // Ends the process (of exec, never the container) if it still runs.
  virtual void kill() = 0;
};

struct RuntimeOptions {
  std::string state_dir;  // /run/skiff
  std::string data_dir;   // DATA_DIR/runtime
  // argv of the shim up to and excluding its own arguments, e.g. {"skiff", "shim"}. The program is
  // always the running executable.
  std::vector<std::string> shim_command = {"skiff", "shim"};
  // "/name" from the root of each hierarchy; "name" below the cgroup skiff runs in. "" chooses:
  // "/skiff" where a service manager owns the current cgroup, "skiff" elsewhere; with another
  // state_dir than /run/skiff a suffix keeps this skiff's groups apart from others'.
  std::string cgroup_parent;
  std::string seccomp_profile_root;  // localhost profiles are relative to it
  std::size_t max_events = 4096;
  std::size_t exec_output_limit = 16 << 20;  // bytes of each stream exec_sync keeps
};

struct RuntimeInfo {
  std::string name = "skiff";
  std::string version;
  std::string cgroup_driver = "cgroupfs";
  bool ready = false;
  std::string message;  // why not
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // Once, before anything else: finds every sandbox and container that a former skiff left, takes
  // hold of those that still run, and removes what was half-made.
  virtual Task<Result<void>> recover() = 0;
  // Lets go of every shim and joins the Runtime's tasks. Pods keep running.
  virtual Task<void> close() = 0;
  virtual RuntimeInfo info() const = 0;

  // Makes namespaces, cgroup and shim. The network namespace holds only `lo` (up): giving it an
  // address is the caller's next step (SandboxStatus::netns_path). Returns the id.
  virtual Task<Result<std::string>> run_sandbox(SandboxConfig config) = 0;
  // Kills what still runs and ends the shim; statuses stay. Success when stopped or unknown.
  virtual Task<Result<void>> stop_sandbox(std::string id) = 0;
  // Stops it, then removes its containers and every trace. Success when unknown.
  virtual Task<Result<void>> remove_sandbox(std::string id) = 0;
  virtual Result<SandboxStatus> sandbox_status(const std::string& id) const = 0;
  virtual std::vector<SandboxStatus> list_sandboxes() const = 0;
  // In-place pod resize: the pod's cgroup.
  virtual Task<Result<void>> update_sandbox_resources(std::string id, Resources resources) = 0;

  virtual Task<Result<std::string>> create_container(std::string sandbox_id,
                                                     ContainerConfig config) = 0;
  // Returns once the program was executed. What prevents that (`exec: "foo": executable file not
  // found in $PATH`) is the error, and the container is exited with StartError and code 128.
  virtual Task<Result<void>> start_container(std::string id) = 0;
  // The stop signal, `grace` later SIGKILL; returns when it has ended. A second call may shorten
  // the grace. Success when it does not run or is unknown.
  virtual Task<Result<void>> stop_container(std::string id, Duration grace) = 0;
  // Kills it if need be. Success when unknown.
  virtual Task<Result<void>> remove_container(std::string id) = 0;
  virtual Result<ContainerStatus> container_status(const std::string& id) const = 0;
  virtual std::vector<ContainerStatus> list_containers() const = 0;
  virtual Task<Result<void>> update_container_resources(std::string id, Resources resources) = 0;

  // Runs `command` to its end, as probes and hooks need. Output beyond the limit is cut. At
  // `timeout` (zero: none) the process is killed: Code::timeout.
  virtual Task<Result<ExecResult>> exec_sync(std::string id, std::vector<std::string> command,
                                             Duration timeout) = 0;
  virtual Task<Result<std::unique_ptr<Stream>>> exec(std::string id, ExecRequest request) = 0;
  // The container's own stdio from now on; its log goes on. wait() ends with the container.
  virtual Task<Result<std::unique_ptr<Stream>>> attach(std::string id) = 0;
  // A TCP connection to 127.0.0.1 (else ::1) in the pod's network: a connected, non-blocking
  // socket that the caller owns.
  virtual Task<Result<int>> dial(std::string sandbox_id, std::uint16_t port) = 0;

  // Reopens the container's log file after somebody renamed it.
  virtual Task<Result<void>> reopen_log(std::string id) = 0;

  // Running containers only; `sandbox_id` "" for all.
  virtual Task<Result<std::vector<ContainerUsage>>> container_stats(std::string sandbox_id) = 0;
  // The pod's cgroup.
  virtual Task<Result<Usage>> sandbox_stats(std::string id) = 0;

  // The next change, waiting for one. One reader. Empty once closed.
  virtual Task<std::optional<RuntimeEvent>> next_event() = 0;
};

// Errors: forbidden when this process lacks the privilege to run containers, invalid for options
// that cannot work; the message says what to do.
Result<std::unique_ptr<Runtime>> make_runtime(Env env, RuntimeOptions options);

}  // namespace skiff::runtime
