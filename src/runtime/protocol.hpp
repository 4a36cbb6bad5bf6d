// What skiff and a shim say to each other over DIR/shim.sock.
//
//   frame := length:u32 (of what follows) type:u16 descriptors:u16 request:u64 field*
//   field := tag:u16 length:u32 bytes
//
// Machine byte order: both ends run here. skiff asks (its requests are numbered, answers carry the
// number); the shim also speaks unasked (events, number 0). Descriptors travel beside the frame's
// first byte (SCM_RIGHTS). Unknown fields are skipped, so a newer skiff understands an older shim
// and the other way round; `hello` tells the version should that ever not be enough.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace skiff::runtime::protocol {

constexpr std::uint64_t version = 1;
constexpr std::size_t max_frame = 4U << 20U;
constexpr std::size_t max_descriptors = 8;
constexpr std::size_t header_size = 16;

enum class Type : std::uint16_t {
  // From skiff.
  hello = 1,
  start = 2,   // container, directory, log..., plan fields
  exec = 3,    // container, exec, plan fields; stdin, stdout, stderr unless there is a tty
  signal = 4,  // container or exec, signal
  stop = 5,    // container, signal, grace_ms
  list = 6,
  remove = 7,     // container: forget it; it must have ended
  reopen = 8,     // container
  attach = 9,     // container; stdout and stderr write ends; the answer brings stdin
  dial = 10,      // port; the answer brings a socket
  shutdown = 11,  // kills what runs and ends the shim
  // From the shim.
  ok = 64,
  failed = 65,  // message, exit_code
  exited = 66,  // event: container or exec, exit fields
  entry = 67,   // of list: one container; the list ends with `ok`
};

enum class Tag : std::uint16_t {
  version = 1,
  container = 2,
  exec = 3,
  directory = 4,
  log_path = 5,
  log_max_bytes = 6,
  log_max_files = 7,
  flags = 8,
  clone_flags = 9,
  cgroup_directory = 10,
  oom_file = 11,
  pid_namespace = 12,
  steps = 13,
  pid = 14,
  started_at = 15,  // nanoseconds since 1970
  finished_at = 16,
  exit_code = 17,
  signal = 18,
  grace_ms = 19,
  oom = 20,
  message = 21,
  port = 22,
  state = 23,
  pause_pid = 24,
};

enum Flags : std::uint64_t {
  flag_stdin = 1,
  flag_stdin_once = 2,
  flag_tty = 4,
};

enum class State : std::uint64_t { starting = 0, running = 1, exited = 2 };

// Builds one frame.
class Frame {
 public:
  Frame(Type type, std::uint64_t request, std::uint16_t descriptors = 0) {
    std::uint32_t length = 0;
    append(length);
    append(static_cast<std::uint16_t>(type));
    append(descriptors);
    append(request);
  }
  Frame& put(Tag tag, std::string_view bytes) {
    append(static_cast<std::uint16_t>(tag));
    append(static_cast<std::uint32_t>(bytes.size()));
    bytes_.append(bytes);
    return *this;
  }
  Frame& put(Tag tag, std::uint64_t number) {
    return put(tag, std::string_view(reinterpret_cast<const char*>(&number), sizeof number));
  }
  std::string finish() {
    auto length = static_cast<std::uint32_t>(bytes_.size() - sizeof(std::uint32_t));
    std::memcpy(bytes_.data(), &length, sizeof length);
    return std::move(bytes_);
  }

 private:
  template <class T>
  void append(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string bytes_;
};

// A received frame; views into the buffer it was parsed from.
struct Message {
  Type type{};
  std::uint16_t descriptors = 0;
  std::uint64_t request = 0;
  std::string_view fields;

  // The first field with this tag; "" and 0 when absent or of another size.
  std::string_view text(Tag tag) const noexcept;
  std::uint64_t number(Tag tag) const noexcept;
  bool has(Tag tag) const noexcept;
};

enum class Parse : std::uint8_t { message, more, damaged };
// Takes one frame from the front of `input`. `used` is how many bytes it had.
Parse parse(std::string_view input, Message& out, std::size_t& used) noexcept;

}  // namespace skiff::runtime::protocol
