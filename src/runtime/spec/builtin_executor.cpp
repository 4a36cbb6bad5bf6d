// The built-in executor: from an OCI configuration to the steps its first process takes.
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "../steps.hpp"
#include "mount_options.hpp"
#include "seccomp_json.hpp"
#include "skiff/linux/security.hpp"
#include "skiff/runtime/executor.hpp"

namespace skiff::runtime {
namespace {

using api::Value;

constexpr std::size_t option_page = 4096;

Error bad(std::string_view field, std::string_view why) {
  return Error{Code::invalid, "config.json: " + std::string(field) + ": " + std::string(why)};
}

struct NamespaceType {
  std::string_view name;
  int flag;
};
constexpr NamespaceType namespace_types[] = {
    {"mount", CLONE_NEWNS},  {"pid", CLONE_NEWPID}, {"network", CLONE_NEWNET},
    {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP},
    {"time", CLONE_NEWTIME},
};

struct ResourceName {
  std::string_view name;
  int number;
};
constexpr ResourceName resource_names[] = {
    {"RLIMIT_AS", RLIMIT_AS},           {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},         {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},     {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},       {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},     {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},   {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_STACK", RLIMIT_STACK},     {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
};

sys::CapabilitySet capability_set(const Value& names) {
  sys::CapabilitySet set = 0;
  for (const auto& name : names.items()) {
    if (auto number = sys::capability_number(name.as_string())) {
      set |= sys::CapabilitySet{1} << static_cast<unsigned>(*number);
    }
  }
  return set & sys::bounding_capabilities();
}

// Overlay options name directories separated by ':' and options by ','.
std::string escape_layer(const std::string& path) {
  std::string out;
  for (char c : path) {
    if (c == ':' || c == ',' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

class Compiler {
 public:
  Compiler(const Value& config, const LaunchContext& context)
      : config_(config), context_(context) {}

  Result<LaunchPlan> container() {
    enter_cgroup();
    steps_.begin(Step::oom_score_adj)
        .number(static_cast<std::uint64_t>(config_["process"]["oomScoreAdj"].as_int()));
    steps_.begin(Step::session);
    SKIFF_CHECK(namespaces());
    open_binds();
    steps_.begin(Step::propagation).text("/").number(root_propagation());
    root();
    SKIFF_CHECK(mounts());
    devices();
    sysctls();
    if (config_["hostname"].is_string()) {
      steps_.begin(Step::hostname).text(config_["hostname"].as_string());
    }
    for (const auto& p : config_["linux"]["readonlyPaths"].items()) {
      steps_.begin(Step::read_only_path).text(p.as_string());
    }
    for (const auto& p : config_["linux"]["maskedPaths"].items()) {
      steps_.begin(Step::mask).text(p.as_string());
    }
    const bool read_only = config_["root"]["readonly"].as_bool();
    SKIFF_CHECK(process(config_["process"], true, read_only));
    plan_.steps = steps_.finish();
    return std::move(plan_);
  }

  Result<LaunchPlan> further_process(const Value& process_object) {
    enter_cgroup();
    steps_.begin(Step::oom_score_adj)
        .number(static_cast<std::uint64_t>(process_object["oomScoreAdj"].as_int()));
    steps_.begin(Step::session);
    steps_.begin(Step::join_root)
        .number(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
    SKIFF_CHECK(process(process_object, false, false));
    plan_.steps = steps_.finish();
    return std::move(plan_);
  }

 private:
  void enter_cgroup() {
    for (const auto& file : context_.cgroup.task_files) steps_.begin(Step::join_cgroup).text(file);
    plan_.cgroup_directory = context_.cgroup.unified_directory;
  }

  Result<void> namespaces() {
    bool cgroup = false;
    for (const auto& ns : config_["linux"]["namespaces"].items()) {
      const std::string& type = ns["type"].as_string();
      const auto* known = std::find_if(std::begin(namespace_types), std::end(namespace_types),
                                       [&](const NamespaceType& t) { return t.name == type; });
      if (known == std::end(namespace_types)) {
        return bad("linux.namespaces", "\"" + type + "\" namespaces are not supported");
      }
      const std::string& path = ns["path"].as_string();
      if (known->flag == CLONE_NEWPID && !path.empty()) {
        plan_.pid_namespace = path;
      } else if (!path.empty()) {
        steps_.begin(Step::join_namespace)
            .text(path)
            .number(static_cast<std::uint64_t>(known->flag));
      } else if (known->flag == CLONE_NEWCGROUP) {
        cgroup = true;
      } else {
        plan_.clone_flags |= static_cast<std::uint64_t>(known->flag);
      }
    }
    if ((plan_.clone_flags & CLONE_NEWNS) == 0) {
      return bad("linux.namespaces", "a new mount namespace is required");
    }
    // After the cgroups were entered: its root is where the process is then.
    if (cgroup) steps_.begin(Step::unshare).number(CLONE_NEWCGROUP);
    if (plan_.clone_flags & CLONE_NEWNET) steps_.begin(Step::loopback);
    return {};
  }

  std::uint64_t root_propagation() const {
    const std::string& word = config_["linux"]["rootfsPropagation"].as_string();
    if (word == "private" || word == "rprivate") return MS_REC | MS_PRIVATE;
    return MS_REC | MS_SLAVE;
  }

  // Sources are named in the host's file system: opened before it goes out of sight.
  void open_binds() {
    std::uint64_t slot = 0;
    for (const auto& m : config_["mounts"].items()) {
      auto options = parse_mount_options(m["options"].items());
      if (m["type"].as_string() == "cgroup") {
        for (const auto& [name, directory] : context_.cgroup_directories) {
          steps_.begin(Step::open_bind).number(slot++).text(directory);
          steps_.number(options.bind_flags | bind_private);
        }
        continue;
      }
      if (!options.bind) continue;
      std::string source = m["source"].as_string();
      if (!source.starts_with('/')) source = context_.bundle + "/" + source;
      std::uint64_t flags = options.bind_flags;
      if ((flags & (bind_private | bind_slave | bind_shared)) == 0) flags |= bind_private;
      const auto& canonical = context_.canonical_sources;
      if (std::find(canonical.begin(), canonical.end(), source) != canonical.end()) {
        flags |= bind_no_symlinks;
      }
      steps_.begin(Step::open_bind).number(slot++).text(source).number(flags);
    }
  }

  void root() {
    const RootSource& r = context_.root;
    if (r.lower_dirs.empty()) {
      steps_.begin(Step::root_directory).text(r.path);
    } else {
      std::string options = "lowerdir=";
      for (auto layer = r.lower_dirs.rbegin(); layer != r.lower_dirs.rend(); ++layer) {
        if (layer != r.lower_dirs.rbegin()) options.push_back(':');
        options += escape_layer(*layer);
      }
      options += ",upperdir=" + escape_layer(r.upper_dir) + ",workdir=" + escape_layer(r.work_dir);
      // The writable layer dies with its container: nobody needs it synced to disk.
      options += ",volatile";
      if (options.size() < option_page) {
        steps_.begin(Step::root_overlay).text(r.path).text(options);
      } else {
        steps_.begin(Step::root_layers).text(r.path).text(r.upper_dir).text(r.work_dir);
        steps_.number(r.lower_dirs.size());
        for (auto layer = r.lower_dirs.rbegin(); layer != r.lower_dirs.rend(); ++layer) {
          steps_.text(*layer);
        }
      }
    }
    steps_.begin(Step::pivot).text(r.path);
  }

  Result<void> mounts() {
    std::uint64_t slot = 0;
    for (const auto& m : config_["mounts"].items()) {
      std::string target = m["destination"].as_string();
      if (target.empty()) return bad("mounts", "a mount without destination");
      if (!target.starts_with('/')) target.insert(0, "/");
      auto options = parse_mount_options(m["options"].items());
      if (m["type"].as_string() == "cgroup") {
        cgroup_mounts(target, options, slot);
        continue;
      }
      if (target == "/dev" && options.bind) own_dev_ = false;
      if (options.bind) {
        steps_.begin(Step::place_bind).number(slot++).text(target);
        continue;
      }
      steps_.begin(Step::mount)
          .text(m["source"].is_string() ? m["source"].as_string() : m["type"].as_string())
          .text(target)
          .text(m["type"].as_string())
          .number(options.flags)
          .text(options.data);
    }
    return {};
  }

  void cgroup_mounts(const std::string& target, const MountOptions& options, std::uint64_t& slot) {
    const auto& directories = context_.cgroup_directories;
    if (directories.size() == 1 && directories.front().first.empty()) {
      steps_.begin(Step::place_bind).number(slot++).text(target);
      return;
    }
    if (directories.empty()) return;
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    steps_.begin(Step::mount)
        .text("tmpfs")
        .text(target)
        .text("tmpfs")
        .number(flags)
        .text("mode=755,size=64k");
    for (const auto& [name, directory] : directories) {
      steps_.begin(Step::place_bind).number(slot++).text(target + "/" + name);
      // cpu and cpuacct may be one hierarchy, which programs look for by either name.
      for (std::size_t at = 0; name.find(',') != std::string::npos && at < name.size();) {
        std::string part = name.substr(at, name.find(',', at) - at);
        steps_.begin(Step::symlink).text(name).text(target + "/" + part);
        at += part.size() + 1;
      }
    }
    if (options.flags & MS_RDONLY) steps_.begin(Step::read_only_path).text(target);
  }

  void node(std::string_view path, std::uint64_t mode, std::uint64_t major, std::uint64_t minor,
            std::uint64_t uid = 0, std::uint64_t gid = 0) {
    steps_.begin(Step::node).text(path).number(mode).number(major).number(minor);
    steps_.number(uid).number(gid);
  }

  void devices() {
    if (!own_dev_) return;
    constexpr std::uint64_t character = 0020000;
    constexpr std::uint64_t block = 0060000;
    struct Standard {
      const char* path;
      unsigned major, minor;
    };
    constexpr Standard standard[] = {{"/dev/null", 1, 3},    {"/dev/zero", 1, 5},
                                     {"/dev/full", 1, 7},    {"/dev/random", 1, 8},
                                     {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    for (const auto& d : standard) node(d.path, character | 0666, d.major, d.minor);
    constexpr std::pair<const char*, const char*> links[] = {
        {"/proc/self/fd", "/dev/fd"},       {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
        {"pts/ptmx", "/dev/ptmx"},          {"/proc/kcore", "/dev/core"}};
    for (const auto& [to, from] : links) steps_.begin(Step::symlink).text(to).text(from);
    for (const auto& d : config_["linux"]["devices"].items()) {
      const std::string& path = d["path"].as_string();
      if (path == "/dev/ptmx" || !path.starts_with('/')) continue;
      auto type = d["type"].as_string() == "b" ? block : character;
      auto number = [&d](const char* key) { return static_cast<std::uint64_t>(d[key].as_int()); };
      std::uint64_t mode = d["fileMode"].is_int() ? number("fileMode") : 0666;
      node(path, type | mode, number("major"), number("minor"), number("uid"), number("gid"));
    }
  }

  void sysctls() {
    for (const auto& member : config_["linux"]["sysctl"].members()) {
      std::string path = "/proc/sys/" + std::string(std::string_view(member.name));
      std::replace(path.begin() + 10, path.end(), '.', '/');
      steps_.begin(Step::write).text(path).text(member.value.as_string());
    }
  }

  Result<void> process(const Value& p, bool first, bool read_only_root) {
    const Value& user = p["user"];
    auto uid = static_cast<std::uint64_t>(user["uid"].as_int());
    for (const auto& limit : p["rlimits"].items()) SKIFF_CHECK(rlimit(limit));
    if (p["terminal"].as_bool()) {
      steps_.begin(Step::terminal).number(uid).number(first && own_dev_ ? 1 : 0);
      plan_.tty = true;
    } else {
      steps_.begin(Step::stdio_owner).number(uid);
    }
    std::string cwd = p["cwd"].as_string();
    steps_.begin(Step::directory).text(cwd.empty() ? "/" : cwd);
    if (read_only_root) steps_.begin(Step::read_only_root);
    steps_.begin(Step::umask)
        .number(user["umask"].is_int() ? static_cast<std::uint64_t>(user["umask"].as_int()) : 0022);
    const bool no_new_privileges = p["noNewPrivileges"].as_bool();
    // Without no_new_privs, loading a filter takes privilege: while there is some. With it, as
    // late as can be, so that the filter need not allow what comes before.
    if (!no_new_privileges) SKIFF_CHECK(seccomp());
    credentials(user, uid, p["capabilities"]);
    if (no_new_privileges) {
      steps_.begin(Step::no_new_privileges);
      SKIFF_CHECK(seccomp());
    }
    if (p["args"].empty()) return bad("process.args", "required");
    steps_.begin(Step::exec).number(p["args"].size());
    for (const auto& a : p["args"].items()) steps_.text(a.as_string());
    steps_.number(p["env"].size());
    for (const auto& e : p["env"].items()) steps_.text(e.as_string());
    return {};
  }

  Result<void> rlimit(const Value& limit) {
    const std::string& type = limit["type"].as_string();
    for (const auto& known : resource_names) {
      if (known.name != type) continue;
      steps_.begin(Step::rlimit)
          .number(static_cast<std::uint64_t>(known.number))
          .number(static_cast<std::uint64_t>(limit["soft"].as_int()))
          .number(static_cast<std::uint64_t>(limit["hard"].as_int()));
      return {};
    }
    return bad("process.rlimits", "unknown limit \"" + type + "\"");
  }

  void credentials(const Value& user, std::uint64_t uid, const Value& caps) {
    auto bounding = capability_set(caps["bounding"]);
    steps_.begin(Step::credentials)
        .number(uid)
        .number(static_cast<std::uint64_t>(user["gid"].as_int()))
        .number(bounding)
        .number(user["additionalGids"].size());
    for (const auto& g : user["additionalGids"].items()) {
      steps_.number(static_cast<std::uint64_t>(g.as_int()));
    }
    steps_.begin(Step::capabilities)
        .number(capability_set(caps["effective"]))
        .number(capability_set(caps["permitted"]))
        .number(capability_set(caps["inheritable"]))
        .number(capability_set(caps["ambient"]));
  }

  Result<void> seccomp() {
    const Value& section = config_["linux"]["seccomp"];
    if (section.is_null()) return {};
    SKIFF_TRY(auto profile, seccomp_from_json(section, ~sys::CapabilitySet{0}));
    SKIFF_TRY(auto program, sys::compile_seccomp(profile));
    std::uint64_t flags = 0;
    for (const auto& flag : section["flags"].items()) {
      if (flag.as_string() == "SECCOMP_FILTER_FLAG_LOG") flags |= SECCOMP_FILTER_FLAG_LOG;
      if (flag.as_string() == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
        flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
      }
    }
    steps_.begin(Step::seccomp)
        .number(flags)
        .text(std::string_view(reinterpret_cast<const char*>(program->data()),
                               program->size() * sizeof(std::uint64_t)));
    return {};
  }

  const Value& config_;
  const LaunchContext& context_;
  StepWriter steps_;
  LaunchPlan plan_;
  bool own_dev_ = true;
};

class BuiltinExecutor final : public OciExecutor {
 public:
  Result<LaunchPlan> launch(const Value& config, const LaunchContext& context) override {
    return Compiler(config, context).container();
  }
  Result<LaunchPlan> exec(const Value& config, const Value& process,
                          const LaunchContext& context) override {
    return Compiler(config, context).further_process(process);
  }
};

}  // namespace

std::unique_ptr<OciExecutor> make_builtin_executor() { return std::make_unique<BuiltinExecutor>(); }

}  // namespace skiff::runtime
