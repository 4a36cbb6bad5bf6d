#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "skiff/linux/system.hpp"

namespace skiff::sys {
namespace {

int forget_segments(dl_phdr_info* info, std::size_t, void*) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (info->dlpi_addr + segment.p_vaddr) / page * page;
    const std::uintptr_t end = (info->dlpi_addr + segment.p_vaddr + segment.p_memsz) / page * page;
    if (end <= begin) continue;
    auto* start = reinterpret_cast<void*>(begin);
    ::madvise(start, end - begin, MADV_NOHUGEPAGE);  // or one touch brings 2 MB back
    ::madvise(start, end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void forget_program_pages() noexcept { ::dl_iterate_phdr(forget_segments, nullptr); }

}  // namespace skiff::sys
