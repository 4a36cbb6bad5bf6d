// A launch plan is a list of steps, each a small record that is read in place: the shim carries it
// out between fork and exec without allocating.
//
//   step  := kind:u16 length:u32 payload
//   payload := fields in the kind's order; number := u64, text := length:u32 bytes NUL
//
// All integers are in the machine's order: both ends run on it. A new kind gets a new number; a
// shim that does not know a kind says so instead of guessing (it may be older than skiff).
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace skiff::runtime {

enum class Step : std::uint16_t {
  // kind                 fields
  join_cgroup = 1,      // file: writes "0" to it
  unshare = 2,          // flags
  join_namespace = 3,   // path, type (CLONE_NEW*)
  propagation = 4,      // path, mount flags
  open_bind = 5,        // slot, source, bind_* flags: clones the source's mount, before the pivot
  root_overlay = 6,     // target, options
  root_layers = 7,      // target, upper, work, lower count, lower... (top first)
  root_directory = 8,   // path
  pivot = 9,            // path of the new root
  mount = 10,           // source, target, type, flags, data: makes the target
  place_bind = 11,      // slot, target: makes the target
  node = 12,            // path, mode, major, minor, uid, gid
  symlink = 13,         // target, path
  mask = 14,            // path
  read_only_path = 15,  // path
  read_only_root = 16,
  write = 17,          // path, value
  hostname = 18,       // name
  rlimit = 19,         // resource, soft, hard
  oom_score_adj = 20,  // value
  terminal = 21,       // uid, console (0 or 1): makes a terminal, gives its master to the shim
  umask = 22,          // mask
  directory = 23,      // path: the working directory; made when missing
  credentials = 24,    // uid, gid, capabilities to keep (bounding), count, group...
  capabilities = 25,   // effective, permitted, inheritable, ambient
  no_new_privileges = 26,
  seccomp = 27,  // flags, program
  loopback = 28,
  pin = 29,             // namespace file, path
  stdio_owner = 30,     // uid
  exec = 31,            // argument count, argument..., variable count, variable...
  join_root = 32,       // namespaces of the container's first process: flags
  session = 33,         // a session of its own
  make_directory = 34,  // path, mode
  tmpfs_root = 35,      // path: an empty, read-only root mounted there
};

enum BindFlags : std::uint64_t {
  bind_recursive = 1,
  bind_read_only = 2,
  bind_recursive_read_only = 4,
  bind_private = 8,
  bind_slave = 16,
  bind_shared = 32,
  bind_no_symlinks = 64,  // the source is a canonical path: a symlink in it means somebody moved it
  bind_optional = 128,    // nothing happens when the source is missing
  bind_nosuid = 256,
  bind_nodev = 512,
  bind_noexec = 1024,
};

// What a step is called in an error message: "mounting", "joining the control group".
std::string_view describe(Step step) noexcept;

class StepWriter {
 public:
  StepWriter& begin(Step step) {
    end();
    put16(static_cast<std::uint16_t>(step));
    start_ = bytes_.size();
    put32(0);
    return *this;
  }
  StepWriter& number(std::uint64_t n) {
    bytes_.append(reinterpret_cast<const char*>(&n), sizeof n);
    return *this;
  }
  StepWriter& text(std::string_view s) {
    put32(static_cast<std::uint32_t>(s.size()));
    bytes_.append(s);
    bytes_.push_back('\0');
    return *this;
  }
  std::string finish() {
    end();
    return std::move(bytes_);
  }

 private:
  void put16(std::uint16_t n) { bytes_.append(reinterpret_cast<const char*>(&n), sizeof n); }
  void put32(std::uint32_t n) { bytes_.append(reinterpret_cast<const char*>(&n), sizeof n); }
  void end() {
    if (start_ == 0) return;
    auto size = static_cast<std::uint32_t>(bytes_.size() - start_ - sizeof(std::uint32_t));
    std::memcpy(bytes_.data() + start_, &size, sizeof size);
    start_ = 0;
  }

  std::string bytes_;
  std::size_t start_ = 0;  // of the open step's length; a kind precedes it, so 0 means none
};

// The fields of one step. Reading past the end gives 0 or "" and makes ok() false.
class StepFields {
 public:
  explicit StepFields(std::string_view payload) noexcept : rest_(payload) {}
  std::uint64_t number() noexcept {
    std::uint64_t n = 0;
    if (take(sizeof n)) std::memcpy(&n, taken_, sizeof n);
    return n;
  }
  // Valid as long as the plan; NUL-terminated.
  const char* text() noexcept { return view().data(); }
  std::string_view view() noexcept {
    std::uint32_t size = 0;
    if (!take(sizeof size)) return "";
    std::memcpy(&size, taken_, sizeof size);
    if (!take(std::size_t{size} + 1) || taken_[size] != '\0') {
      ok_ = false;
      return "";
    }
    return {taken_, size};
  }
  bool ok() const noexcept { return ok_; }
  bool done() const noexcept { return rest_.empty(); }

 private:
  bool take(std::size_t n) noexcept {
    if (!ok_ || rest_.size() < n) {
      ok_ = false;
      return false;
    }
    taken_ = rest_.data();
    rest_.remove_prefix(n);
    return true;
  }
  std::string_view rest_;
  const char* taken_ = nullptr;
  bool ok_ = true;
};

// Walks a plan. next() is false at the end, and at damage (then damaged() is true).
class StepReader {
 public:
  explicit StepReader(std::string_view plan) noexcept : rest_(plan) {}
  bool next(Step& step, std::string_view& payload) noexcept {
    if (rest_.empty()) return false;
    std::uint16_t kind = 0;
    std::uint32_t size = 0;
    if (rest_.size() < sizeof kind + sizeof size) return fail();
    std::memcpy(&kind, rest_.data(), sizeof kind);
    std::memcpy(&size, rest_.data() + sizeof kind, sizeof size);
    rest_.remove_prefix(sizeof kind + sizeof size);
    if (rest_.size() < size) return fail();
    step = static_cast<Step>(kind);
    payload = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  bool damaged() const noexcept { return damaged_; }

 private:
  bool fail() noexcept {
    damaged_ = true;
    rest_ = {};
    return false;
  }
  std::string_view rest_;
  bool damaged_ = false;
};

}  // namespace skiff::runtime
