#include "protocol.hpp"

#include "steps.hpp"

namespace skiff::runtime {
namespace {

struct StepWords {
  Step step;
  std::string_view words;
};
constexpr StepWords step_words[] = {
    {Step::join_cgroup, "joining the control group"},
    {Step::unshare, "making namespaces"},
    {Step::join_namespace, "joining the namespace"},
    {Step::propagation, "setting mount propagation of"},
    {Step::open_bind, "opening the mount source"},
    {Step::root_overlay, "mounting the root file system at"},
    {Step::root_layers, "mounting the root file system at"},
    {Step::root_directory, "using the root directory"},
    {Step::pivot, "entering the root file system"},
    {Step::mount, "mounting"},
    {Step::place_bind, "mounting at"},
    {Step::node, "making the device"},
    {Step::symlink, "making the symbolic link"},
    {Step::mask, "masking"},
    {Step::read_only_path, "making read-only"},
    {Step::read_only_root, "making the root file system read-only"},
    {Step::write, "writing"},
    {Step::hostname, "setting the host name"},
    {Step::rlimit, "setting a resource limit"},
    {Step::oom_score_adj, "setting oom_score_adj"},
    {Step::terminal, "making a terminal"},
    {Step::umask, "setting the umask"},
    {Step::directory, "changing to the working directory"},
    {Step::credentials, "changing user and groups"},
    {Step::capabilities, "setting capabilities"},
    {Step::no_new_privileges, "setting no_new_privs"},
    {Step::seccomp, "loading the seccomp filter"},
    {Step::loopback, "bringing up the loopback interface"},
    {Step::pin, "pinning the namespace"},
    {Step::stdio_owner, "changing the owner of standard streams"},
    {Step::exec, "exec"},
    {Step::join_root, "joining the container's namespaces"},
    {Step::session, "making a session"},
    {Step::make_directory, "making the directory"},
    {Step::tmpfs_root, "making an empty root file system"},
};

}  // namespace

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
  for (const auto& known : step_words) {
    if (known.step == step) return known.words;
  }
  return "an unknown step: this shim is older than skiff; recreate the pod. Step";
}

}  // namespace skiff::runtime
