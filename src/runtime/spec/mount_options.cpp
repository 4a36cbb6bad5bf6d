#include "mount_options.hpp"

#include <sys/mount.h>

#include "../steps.hpp"
#include "skiff/api/value.hpp"

namespace skiff::runtime {
namespace {

struct Word {
  std::string_view name;
  unsigned long set = 0;
  unsigned long clear = 0;
  std::uint64_t bind_set = 0;
  std::uint64_t bind_clear = 0;
};

constexpr Word words[] = {
    {"ro", MS_RDONLY, 0, bind_read_only, 0},
    {"rro", MS_RDONLY, 0, bind_read_only | bind_recursive_read_only, 0},
    {"rw", 0, MS_RDONLY, 0, bind_read_only | bind_recursive_read_only},
    {"nosuid", MS_NOSUID, 0, bind_nosuid, 0},
    {"suid", 0, MS_NOSUID, 0, bind_nosuid},
    {"nodev", MS_NODEV, 0, bind_nodev, 0},
    {"dev", 0, MS_NODEV, 0, bind_nodev},
    {"noexec", MS_NOEXEC, 0, bind_noexec, 0},
    {"exec", 0, MS_NOEXEC, 0, bind_noexec},
    {"sync", MS_SYNCHRONOUS, 0, 0, 0},
    {"async", 0, MS_SYNCHRONOUS, 0, 0},
    {"dirsync", MS_DIRSYNC, 0, 0, 0},
    {"noatime", MS_NOATIME, 0, 0, 0},
    {"atime", 0, MS_NOATIME, 0, 0},
    {"nodiratime", MS_NODIRATIME, 0, 0, 0},
    {"diratime", 0, MS_NODIRATIME, 0, 0},
    {"relatime", MS_RELATIME, 0, 0, 0},
    {"norelatime", 0, MS_RELATIME, 0, 0},
    {"strictatime", MS_STRICTATIME, 0, 0, 0},
    {"nostrictatime", 0, MS_STRICTATIME, 0, 0},
    {"defaults", 0, 0, 0, 0},
    {"bind", MS_BIND, 0, 0, 0},
    {"rbind", MS_BIND | MS_REC, 0, bind_recursive, 0},
    {"private", 0, 0, bind_private, bind_slave | bind_shared},
    {"rprivate", 0, 0, bind_private, bind_slave | bind_shared},
    {"slave", 0, 0, bind_slave, bind_private | bind_shared},
    {"rslave", 0, 0, bind_slave, bind_private | bind_shared},
    {"shared", 0, 0, bind_shared, bind_private | bind_slave},
    {"rshared", 0, 0, bind_shared, bind_private | bind_slave},
};

}  // namespace

MountOptions parse_mount_options(std::span<const api::Value> options) {
  MountOptions out;
  for (const auto& option : options) {
    const std::string& text = option.as_string();
    const Word* known = std::find_if(std::begin(words), std::end(words),
                                     [&](const Word& w) { return w.name == text; });
    if (known == std::end(words)) {
      if (!out.data.empty()) out.data.push_back(',');
      out.data += text;
      continue;
    }
    out.flags = (out.flags | known->set) & ~known->clear;
    out.bind_flags = (out.bind_flags | known->bind_set) & ~known->bind_clear;
  }
  out.bind = (out.flags & MS_BIND) != 0;
  return out;
}

}  // namespace skiff::runtime
