// cgroup v2 has no devices controller: a small eBPF program says yes or no instead.
#include <linux/bpf.h>

#include "skiff/linux/cgroup.hpp"

namespace skiff::sys {
namespace {

std::uint64_t encode(std::uint8_t code, unsigned dst, unsigned src, std::int16_t offset,
                     std::int32_t immediate) {
  return std::uint64_t{code} | std::uint64_t{(dst & 15U) | ((src & 15U) << 4U)} << 8U |
         std::uint64_t{static_cast<std::uint16_t>(offset)} << 16U |
         std::uint64_t{static_cast<std::uint32_t>(immediate)} << 32U;
}

constexpr unsigned result = BPF_REG_0, context = BPF_REG_1, type = BPF_REG_2, access = BPF_REG_3,
                   major_number = BPF_REG_4, minor_number = BPF_REG_5;

std::uint32_t access_mask(std::string_view letters) {
  std::uint32_t mask = 0;
  for (char c : letters) {
    if (c == 'm') mask |= BPF_DEVCG_ACC_MKNOD;
    if (c == 'r') mask |= BPF_DEVCG_ACC_READ;
    if (c == 'w') mask |= BPF_DEVCG_ACC_WRITE;
  }
  return mask;
}

std::uint64_t load(unsigned to, std::int16_t offset) {
  return encode(BPF_LDX | BPF_MEM | BPF_W, to, context, offset, 0);
}
std::uint64_t skip_unless_equal(unsigned reg, std::int64_t value, std::size_t count) {
  return encode(BPF_JMP | BPF_JNE | BPF_K, reg, 0, static_cast<std::int16_t>(count),
                static_cast<std::int32_t>(value));
}
std::uint64_t move(unsigned to, std::int32_t value) {
  return encode(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value);
}
constexpr std::uint64_t exit_instruction = BPF_JMP | BPF_EXIT;

// The instructions that decide when this rule matches and otherwise fall through.
std::vector<std::uint64_t> rule_block(const DeviceRule& rule) {
  std::vector<std::uint64_t> tests;  // built backwards: each knows how far the block still goes
  std::vector<std::uint64_t> verdict = {move(result, rule.allow ? 1 : 0), exit_instruction};
  auto prepend = [&](std::vector<std::uint64_t> code) {
    tests.insert(tests.begin(), code.begin(), code.end());
  };
  auto rest = [&] { return tests.size() + verdict.size(); };
  if (rule.minor >= 0) prepend({skip_unless_equal(minor_number, rule.minor, rest())});
  if (rule.major >= 0) prepend({skip_unless_equal(major_number, rule.major, rest())});
  std::uint32_t mask = access_mask(rule.access);
  if (mask != 7U) {
    // Matches when nothing is asked beyond the mask: r6 = access & ~mask; r6 == 0.
    std::uint64_t test = skip_unless_equal(BPF_REG_6, 0, rest());
    prepend({encode(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_6, access, 0, 0),
             encode(BPF_ALU | BPF_AND | BPF_K, BPF_REG_6, 0, 0, static_cast<std::int32_t>(~mask)),
             test});
  }
  if (rule.type != 'a') {
    int wanted = rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
    prepend({skip_unless_equal(type, wanted, rest())});
  }
  tests.insert(tests.end(), verdict.begin(), verdict.end());
  return tests;
}

}  // namespace

std::vector<std::uint64_t> device_program(const std::vector<DeviceRule>& rules) {
  // struct bpf_cgroup_dev_ctx: access in the upper half of access_type, the type in the lower.
  std::vector<std::uint64_t> program = {
      load(type, 0),         encode(BPF_ALU | BPF_AND | BPF_K, type, 0, 0, 0xffff),
      load(access, 0),       encode(BPF_ALU | BPF_RSH | BPF_K, access, 0, 0, 16),
      load(major_number, 4), load(minor_number, 8),
  };
  // The last matching rule decides, as in v1's devices.allow and devices.deny: test it first.
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    auto block = rule_block(*rule);
    program.insert(program.end(), block.begin(), block.end());
    if (rule->type == 'a' && rule->major < 0 && rule->minor < 0 && rule->access == "rwm") {
      return program;  // matches everything: what follows would be dead code, which eBPF refuses
    }
  }
  program.push_back(move(result, 0));
  program.push_back(exit_instruction);
  return program;
}

}  // namespace skiff::sys
