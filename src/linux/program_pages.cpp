#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <utility>

#include "skiff/linux/system.hpp"

namespace skiff::sys {
namespace {

constexpr std::size_t kMaxSegments = 16;

struct Segments {
  std::array<std::pair<std::uintptr_t, std::uintptr_t>, kMaxSegments> ranges;
  std::size_t count = 0;
};

// Of the program itself, which comes first; what cannot be written has no content of its own.
int find_segments(dl_phdr_info* info, std::size_t, void* out) noexcept {
  auto& segments = *static_cast<Segments*>(out);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < info->dlpi_phnum && segments.count < kMaxSegments; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (info->dlpi_addr + segment.p_vaddr) / page * page;
    const std::uintptr_t end = (info->dlpi_addr + segment.p_vaddr + segment.p_memsz) / page * page;
    if (end > begin) segments.ranges[segments.count++] = {begin, end};
  }
  return 1;
}

}  // namespace

void forget_program_pages() noexcept {
  Segments segments;  // first all of them: the list itself stands in the first segment
  ::dl_iterate_phdr(find_segments, &segments);
  for (std::size_t i = 0; i < segments.count; ++i) {
    const auto [begin, end] = segments.ranges[i];
    auto* start = reinterpret_cast<void*>(begin);
    ::madvise(start, end - begin, MADV_NOHUGEPAGE);  // or one touch brings 2 MB back
    ::madvise(start, end - begin, MADV_DONTNEED);
  }
}

}  // namespace skiff::sys
