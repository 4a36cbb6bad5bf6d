#include "body.hpp"

namespace skiff::runtime {
namespace {

Usage to_usage(const sys::CgroupStats& s, WallTime at) {
  Usage u;
  u.at = at;
  u.cpu_nanoseconds = s.cpu_nanoseconds;
  u.memory_usage = s.memory_usage;
  u.memory_working_set = s.memory_working_set;
  u.memory_rss = s.memory_rss;
  u.memory_limit = s.memory_limit;
  u.page_faults = s.page_faults;
  u.major_page_faults = s.major_page_faults;
  u.processes = s.processes;
  return u;
}

struct Wanted {
  std::string group;
  std::string layer;
  ContainerUsage usage;
};

}  // namespace

Task<Result<std::vector<ContainerUsage>>> RuntimeBody::container_stats(std::string sandbox_id) {
  std::vector<Wanted> wanted;
  for (const auto& [id, c] : containers_) {
    if (c->status.state != ContainerState::running) continue;
    if (!sandbox_id.empty() && c->status.sandbox_id != sandbox_id) continue;
    auto sandbox = find_sandbox(c->status.sandbox_id);
    if (!sandbox) continue;
    Wanted w;
    w.group = container_group((*sandbox)->status.config, id);
    w.layer = layout_.layer(id) + (c->overlay ? "/upper" : "/rootfs");
    w.usage.container_id = id;
    w.usage.sandbox_id = c->status.sandbox_id;
    w.usage.name = c->status.config.name;
    wanted.push_back(std::move(w));
  }
  auto work = [wanted, at = env_.clock->wall(), cgroups = cgroups_.get()]() mutable {
    std::vector<ContainerUsage> out;
    for (auto& w : wanted) {
      auto stats = cgroups->stats(w.group);
      if (!stats) continue;  // it ended meanwhile
      w.usage.usage = to_usage(*stats, at);
      w.usage.writable_layer_bytes = disk_usage(w.layer);
      out.push_back(std::move(w.usage));
    }
    return out;
  };
  co_return co_await env_.blocking->run(work);
}

Task<Result<Usage>> RuntimeBody::sandbox_stats(std::string id) {
  auto sandbox = find_sandbox(id);
  if (!sandbox) co_return sandbox.error();
  auto work = [group = pod_group((*sandbox)->status.config), at = env_.clock->wall(),
               cgroups = cgroups_.get()]() -> Result<Usage> {
    SKIFF_TRY(auto stats, cgroups->stats(group));
    return to_usage(stats, at);
  };
  co_return co_await env_.blocking->run(work);
}

}  // namespace skiff::runtime
