// What a former skiff left, found and taken over.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "body.hpp"
#include "codec.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::runtime {
namespace {

using protocol::Frame;
using protocol::Message;
using protocol::State;
using protocol::Tag;
using protocol::Type;

constexpr Duration shim_answer_limit = 15s;
constexpr int unknown_exit_code = 255;  // what CRI runtimes report for an end nobody saw

struct FoundContainer {
  std::string id;
  api::Value record;
};
struct FoundSandbox {
  std::string id;
  api::Value record;  // null: half-made
  bool stopped = false;
  std::vector<FoundContainer> containers;
  std::vector<std::string> half_made;
};
struct Found {
  std::vector<FoundSandbox> sandboxes;
  bool overlay = true;
  std::string overlay_error;
};

api::Value load(const std::string& path) {
  auto text = read_text(path);
  if (!text) return {};
  auto value = api::parse_json(*text);
  return value ? std::move(*value) : api::Value();
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  sys::real_system().list_directory(path.c_str(), names);
  return names;
}

Result<Found> find_all(const Layout& layout) {
  SKIFF_CHECK(make_directories(layout.sandboxes(), 0711));
  SKIFF_CHECK(make_directories(layout.namespaces()));
  SKIFF_CHECK(make_directories(layout.layers(), 0711));
  Found found;
  if (auto probed = sys::probe_overlay(layout.data_dir); !probed) {
    found.overlay = false;
    found.overlay_error = probed.error().message;
  }
  for (const auto& id : names_in(layout.sandboxes())) {
    FoundSandbox s;
    s.id = id;
    if (exists(layout.sandbox(id) + "/ready"))
      s.record = load(layout.sandbox(id) + "/sandbox.json");
    s.stopped = exists(layout.sandbox(id) + "/stopped");
    for (const auto& cid : names_in(layout.containers(id))) {
      api::Value record = load(layout.container(id, cid) + "/container.json");
      if (record.is_null()) {
        s.half_made.push_back(cid);
      } else {
        s.containers.push_back({cid, std::move(record)});
      }
    }
    found.sandboxes.push_back(std::move(s));
  }
  return found;
}

WallTime created(const api::Value& record) {
  auto t = parse_time(record["createdAt"].as_string());
  return t ? *t : WallTime{};
}

// Removes what belongs to no known sandbox or container.
void sweep_files(const Layout& layout, const std::set<std::string>& sandboxes,
                 const std::set<std::string>& containers, const std::set<std::string>& pod_groups,
                 sys::Cgroups& cgroups) {
  auto complain = [](const Result<void>& r) {
    if (!r) log::warn("runtime", "sweeping", {{"error", r.error()}});
  };
  for (const auto& id : names_in(layout.namespaces())) {
    if (sandboxes.count(id) == 0) complain(sys::unpin_namespace(layout.netns(id)));
  }
  for (const auto& id : names_in(layout.layers())) {
    if (containers.count(id) == 0) complain(remove_all(layout.layer(id)));
  }
  auto classes = cgroups.children("pods");
  if (!classes) return;
  for (const auto& qos : *classes) {
    auto pods = cgroups.children("pods/" + qos);
    if (!pods) continue;
    for (const auto& pod : *pods) {
      std::string group = "pods/" + qos + "/" + pod;
      auto members = cgroups.children(group);
      if (!members) continue;
      for (const auto& id : *members) {
        if (containers.count(id) != 0) continue;
        complain(cgroups.kill(group + "/" + id));
        complain(cgroups.remove(group + "/" + id));
      }
      if (pod_groups.count(group) == 0) complain(cgroups.remove(group));
    }
  }
}

}  // namespace

void RuntimeBody::load_container(SandboxPtr sandbox, const std::string& id) {
  std::string dir = layout_.container(sandbox->status.id, id);
  auto it = containers_.find(id);
  if (it == containers_.end()) return;
  const ContainerPtr& c = it->second;
  if (auto text = read_text(dir + "/exit")) return set_exited(c, parse_exit_record(*text));
  auto text = read_text(dir + "/start");
  if (!text) return;  // never started
  ExitRecord record = parse_exit_record(*text);
  record.exit_code = unknown_exit_code;
  set_exited(c, record);
  c->status.reason = "ContainerStatusUnknown";
  c->status.message =
      "how the container ended is not known: its shim died, or the machine restarted";
}

void RuntimeBody::note_entry(const Message& m) {
  auto it = containers_.find(std::string(m.text(Tag::container)));
  if (it == containers_.end()) return;
  ContainerStatus& s = it->second->status;
  if (static_cast<State>(m.number(Tag::state)) == State::exited) return;  // its record says how
  s.state = ContainerState::running;
  s.pid = static_cast<int>(m.number(Tag::pid));
  s.started_at = WallTime{std::chrono::microseconds(m.number(Tag::started_at) / 1000)};
}

// Connects to a sandbox's shim and learns what runs there; a sandbox without shim is stopped.
Task<void> RuntimeBody::adopt(SandboxPtr sandbox) {
  const std::string id = sandbox->status.id;
  auto connected = co_await connect(sandbox, layout_.sandbox(id));
  if (connected) {
    auto shim = sandbox->shim;
    auto request = shim->next_request();
    auto call = shim->call(request, Frame(Type::list, request).finish());
    auto answer = co_await with_timeout(*env_.clock, shim_answer_limit, "listing containers",
                                        std::move(call));
    if (answer) {
      for (const auto& entry : (*answer)->entries) note_entry(entry->message);
      sandbox->status.state = SandboxState::ready;
    } else {
      connected = answer.error();
    }
  }
  for (const auto& cid : containers_of(id)) {
    const auto& c = containers_[cid];
    if (c->status.state != ContainerState::running) load_container(sandbox, cid);
  }
  if (connected) co_return;
  log::warn("runtime", "a pod's shim is gone; the pod is stopped",
            {{"sandbox", id}, {"error", connected.error()}});
  auto stopped = co_await do_stop_sandbox(sandbox);
  if (!stopped) {
    log::error("runtime", "clearing up a stopped pod",
               {{"sandbox", id}, {"error", stopped.error()}});
  }
}

// A sandbox that was being made, or removed, when skiff was interrupted.
Task<void> RuntimeBody::clear_half_made(std::string id) {
  auto sandbox = std::make_shared<SandboxRecord>(env_.executor);
  sandbox->status.id = id;
  sandbox->stopping = true;
  auto connected = co_await connect(sandbox, layout_.sandbox(id));
  if (connected) (void)co_await end_shim(sandbox);
  auto work = [layout = layout_, id, cgroups = cgroups_.get()]() -> Result<void> {
    SandboxConfig config = sandbox_config(load(layout.sandbox(id) + "/sandbox.json")["config"]);
    std::vector<std::string> containers;
    if (!config.uid.empty()) containers = names_in(layout.containers(id));
    SKIFF_CHECK(release_sandbox(layout, config, id, containers, *cgroups));
    for (const auto& c : containers) {
      SKIFF_CHECK(remove_container_files(layout, config, id, c, *cgroups));
    }
    return remove_all(layout.sandbox(id));
  };
  auto cleared = co_await env_.blocking->run(work);
  if (!cleared) {
    log::warn("runtime", "removing a half-made pod", {{"sandbox", id}, {"error", cleared.error()}});
  }
}

Task<Result<void>> RuntimeBody::recover() {
  auto look = [layout = layout_] { return find_all(layout); };
  SKIFF_CO_TRY(Found found, co_await env_.blocking->run(look));
  overlay_ = found.overlay;
  if (!overlay_) {
    log::warn("runtime",
              "overlayfs is refused here: each container gets a full copy of its image, which "
              "takes time and disk",
              {{"error", found.overlay_error}});
  }
  for (auto& f : found.sandboxes) {
    if (f.record.is_null()) {
      co_await clear_half_made(f.id);
      continue;
    }
    auto sandbox = std::make_shared<SandboxRecord>(env_.executor);
    sandbox->status.id = f.id;
    sandbox->status.config = sandbox_config(f.record["config"]);
    sandbox->status.created_at = created(f.record);
    if (!sandbox->status.config.host_network) sandbox->status.netns_path = layout_.netns(f.id);
    sandboxes_[f.id] = sandbox;
    for (auto& fc : f.containers) {
      auto c = std::make_shared<ContainerRecord>(env_.executor);
      c->status.id = fc.id;
      c->status.sandbox_id = f.id;
      c->status.config = container_config(fc.record["config"]);
      c->status.created_at = created(fc.record);
      c->status.user = fc.record["user"].as_int();
      c->status.group = fc.record["group"].as_int();
      for (const auto& g : fc.record["groups"].items()) c->status.groups.push_back(g.as_int());
      c->overlay = fc.record["overlay"].as_bool(true);
      const auto& log_path = c->status.config.log_path;
      if (!log_path.empty()) {
        c->status.log_path = sandbox->status.config.log_directory + "/" + log_path;
      }
      containers_[fc.id] = c;
    }
    sandbox->released = f.stopped;
    if (f.stopped) {
      for (const auto& fc : f.containers) load_container(sandbox, fc.id);
    } else {
      co_await adopt(sandbox);
      // In another mount namespace than the last run's the pin is an empty file; the shim lives in
      // the pod's network and serves as well.
      const int shim = sandbox->status.shim_pid;
      if (shim > 0 && !sandbox->status.netns_path.empty() &&
          !sys::is_namespace(sandbox->status.netns_path)) {
        sandbox->status.netns_path = "/proc/" + std::to_string(shim) + "/ns/net";
      }
    }
    for (const auto& id : f.half_made) {
      auto work = [layout = layout_, config = sandbox->status.config, sid = f.id, id,
                   cgroups = cgroups_.get()] {
        return remove_container_files(layout, config, sid, id, *cgroups);
      };
      auto removed = co_await env_.blocking->run(work);
      if (!removed) {
        log::warn("runtime", "removing a half-made container",
                  {{"container", id}, {"error", removed.error()}});
      }
    }
  }
  co_await sweep();
  recovered_ = true;
  co_return Result<void>();
}

Task<void> RuntimeBody::sweep() {
  std::set<std::string> sandboxes;
  std::set<std::string> containers;
  std::set<std::string> pod_groups;
  for (const auto& [id, s] : sandboxes_) {
    sandboxes.insert(id);
    pod_groups.insert(pod_group(s->status.config));
  }
  for (const auto& [id, c] : containers_) containers.insert(id);
  auto work = [layout = layout_, sandboxes, containers, pod_groups, cgroups = cgroups_.get()] {
    sweep_files(layout, sandboxes, containers, pod_groups, *cgroups);
    return 0;
  };
  (void)co_await env_.blocking->run(work);
}

}  // namespace skiff::runtime
