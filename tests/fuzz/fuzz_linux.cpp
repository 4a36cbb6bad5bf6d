// Text from the kernel and from flags: mounts, control groups, addresses, signals; times.
#include "fuzz.hpp"
#include "skiff/base/clock.hpp"
#include "skiff/linux/cgroup.hpp"
#include "skiff/linux/netlink.hpp"
#include "skiff/linux/system.hpp"

using namespace skiff;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const sys::MountEntry& e : sys::parse_mountinfo(text)) {
    SKIFF_ASSERT(!e.mount_point.empty(), "a mount is somewhere");
  }
  const int signal = sys::parse_signal(text);
  SKIFF_ASSERT(signal >= 0 && signal <= 64, "a signal exists");
  // 32 and 33 are the C library's own and have no names.
  if (signal != 0 && signal != 32 && signal != 33) {
    SKIFF_ASSERT(sys::parse_signal(sys::signal_name(signal)) == signal, "a name reads back");
  }
  if (const auto a = netlink::IpAddress::parse(text)) {
    SKIFF_ASSERT(*netlink::IpAddress::parse(a->to_string()) == *a, "an address reads back");
  }
  if (const auto p = netlink::Prefix::parse(text)) {
    SKIFF_ASSERT(*netlink::Prefix::parse(p->to_string()) == *p, "a range reads back");
  }
  std::size_t seen = 0;
  netlink::for_each_attribute({data, size}, [&](std::uint16_t, netlink::ByteView payload) {
    SKIFF_ASSERT(payload.empty() ||
                     (payload.data() >= data && payload.data() + payload.size() <= data + size),
                 "an attribute is within its message");
    ++seen;
  });
  SKIFF_ASSERT(seen <= size / 4, "an attribute has a header");
  if (const auto t = parse_time(text)) {
    const auto again = parse_time(format_micro_time(*t));
    SKIFF_ASSERT(again && *again == *t, "a time reads back");
  }
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:1 master:2 - ext3 /dev/root "
      "rw,errors=continue\n",
      "30 24 0:26 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n",
      "31 24 0:27 / /sys/fs/cgroup/unified rw shared:12 - cgroup2 cgroup2 rw,nsdelegate\n",
      std::string_view("\x08\0\x01\0abcd\x05\0\x02\x80x\0\0\0\x04\0\x03\0", 20),
      "SIGRTMIN+3",
      "15",
      "10.42.0.0/16",
      "fe80::1%eth0",
      "2001:db8::ffff:192.0.2.1/64",
      "2026-11-23T18:15:48.123456Z",
      "2026-02-29T23:59:60+14:00",
  };
  return kSeeds;
}
