// Cgroups over a layout: one directory per hierarchy, v1 and v2 files behind the same calls.
#pragma once

#include "skiff/linux/cgroup.hpp"

namespace skiff::sys {

class CgroupsBody final : public Cgroups {
 public:
  CgroupsBody(System& system, CgroupLayout layout, std::string parent,
              const std::string& name = "skiff");

  const CgroupLayout& layout() const noexcept override { return layout_; }
  Result<void> create(const std::string& group) override;
  Result<void> set_limits(const std::string& group, const CgroupLimits& limits) override;
  Result<void> set_devices(const std::string& group, const std::vector<DeviceRule>& rules) override;
  CgroupEntry entry(const std::string& group) const override;
  Result<CgroupStats> stats(const std::string& group) const override;
  Result<std::vector<pid_t>> processes(const std::string& group) const override;
  Result<void> freeze(const std::string& group, bool frozen) override;
  Result<void> kill(const std::string& group) override;
  Result<void> remove(const std::string& group) override;
  Result<std::vector<std::string>> children(const std::string& group) const override;
  std::vector<std::pair<std::string, std::string>> directories(
      const std::string& group) const override;

 private:
  std::string path(std::size_t hierarchy, const std::string& group) const;
  std::optional<std::string> path_of(std::string_view controller, const std::string& group) const;
  bool is_unified(std::string_view controller) const;
  Result<void> write(const std::string& file, std::string_view value) const;
  Result<std::string> read(const std::string& file) const;
  std::string read_or_empty(const std::string& file) const;
  Result<void> enable_above(const CgroupLayout::Hierarchy& h, const std::string& target);
  Result<void> move_to_leaf(const std::string& group);
  Result<void> gather(const std::string& directory, std::vector<pid_t>& pids) const;
  Result<void> remove_tree(const std::string& directory);
  Result<void> set_memory_v1(const std::string& dir, std::int64_t bytes);
  Result<void> set_memory_v2(const std::string& dir, const CgroupLimits& limits);
  Result<void> set_cpu(const std::string& dir, bool unified, const CgroupLimits& limits);
  Result<void> attach_device_program(const std::string& dir, const std::vector<DeviceRule>& rules);
  void memory_stats(const std::string& dir, bool unified, CgroupStats& stats) const;
  static std::vector<pid_t> parse_pids(std::string_view text);

  System& system_;
  CgroupLayout layout_;
  std::vector<std::string> roots_;  // the parent group in each hierarchy
};

}  // namespace skiff::sys
