#include "protocol.hpp"

#include "steps.hpp"

namespace skiff::runtime {

namespace protocol {
namespace {

template <class T>
T read_at(std::string_view bytes, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

constexpr std::size_t field_header = 6;

// True when the fields fill `bytes` exactly.
bool well_formed(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    if (bytes.size() < field_header) return false;
    std::size_t size = read_at<std::uint32_t>(bytes, 2);
    if (bytes.size() - field_header < size) return false;
    bytes.remove_prefix(field_header + size);
  }
  return true;
}

std::optional<std::string_view> find(std::string_view bytes, Tag tag) noexcept {
  while (bytes.size() >= field_header) {
    std::size_t size = read_at<std::uint32_t>(bytes, 2);
    if (read_at<std::uint16_t>(bytes, 0) == static_cast<std::uint16_t>(tag)) {
      return bytes.substr(field_header, size);
    }
    bytes.remove_prefix(field_header + size);
  }
  return std::nullopt;
}

}  // namespace

std::string_view Message::text(Tag tag) const noexcept {
  return find(fields, tag).value_or(std::string_view());
}

std::uint64_t Message::number(Tag tag) const noexcept {
  auto bytes = find(fields, tag);
  return bytes && bytes->size() == sizeof(std::uint64_t) ? read_at<std::uint64_t>(*bytes, 0) : 0;
}

bool Message::has(Tag tag) const noexcept { return find(fields, tag).has_value(); }

Parse parse(std::string_view input, Message& out, std::size_t& used) noexcept {
  if (input.size() < sizeof(std::uint32_t)) return Parse::more;
  std::size_t length = read_at<std::uint32_t>(input, 0);
  if (length > max_frame || length < header_size - sizeof(std::uint32_t)) return Parse::damaged;
  used = length + sizeof(std::uint32_t);
  if (input.size() < used) return Parse::more;
  out.type = static_cast<Type>(read_at<std::uint16_t>(input, 4));
  out.descriptors = read_at<std::uint16_t>(input, 6);
  out.request = read_at<std::uint64_t>(input, 8);
  out.fields = input.substr(header_size, used - header_size);
  if (out.descriptors > max_descriptors || !well_formed(out.fields)) return Parse::damaged;
  return Parse::message;
}

}  // namespace protocol

std::string_view describe(Step step) noexcept {
  switch (step) {
    case Step::join_cgroup:
      return "joining the control group";
    case Step::unshare:
      return "making namespaces";
    case Step::join_namespace:
      return "joining the namespace";
    case Step::propagation:
      return "setting mount propagation of";
    case Step::open_bind:
      return "opening the mount source";
    case Step::root_overlay:
    case Step::root_layers:
      return "mounting the root file system at";
    case Step::root_directory:
      return "using the root directory";
    case Step::pivot:
      return "entering the root file system";
    case Step::mount:
      return "mounting";
    case Step::place_bind:
      return "mounting at";
    case Step::node:
      return "making the device";
    case Step::symlink:
      return "making the symbolic link";
    case Step::mask:
      return "masking";
    case Step::read_only_path:
      return "making read-only";
    case Step::read_only_root:
      return "making the root file system read-only";
    case Step::write:
      return "writing";
    case Step::hostname:
      return "setting the host name";
    case Step::rlimit:
      return "setting a resource limit";
    case Step::oom_score_adj:
      return "setting oom_score_adj";
    case Step::terminal:
      return "making a terminal";
    case Step::umask:
      return "setting the umask";
    case Step::directory:
      return "changing to the working directory";
    case Step::credentials:
      return "changing user and groups";
    case Step::capabilities:
      return "setting capabilities";
    case Step::no_new_privileges:
      return "setting no_new_privs";
    case Step::seccomp:
      return "loading the seccomp filter";
    case Step::loopback:
      return "bringing up the loopback interface";
    case Step::pin:
      return "pinning the namespace";
    case Step::stdio_owner:
      return "changing the owner of standard streams";
    case Step::exec:
      return "exec";
    case Step::join_root:
      return "joining the container's namespaces";
    case Step::session:
      return "making a session";
    case Step::make_directory:
      return "making the directory";
    case Step::tmpfs_root:
      return "making an empty root file system";
  }
  return "an unknown step: this shim is older than skiff; recreate the pod. Step";
}

}  // namespace skiff::runtime
