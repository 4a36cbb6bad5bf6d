// From "create this container" to "it has ended", for /bin/busybox true: skiff's executor against
// `crun run` on the same bundle, turn by turn in the same run. Also what a shim occupies.
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "skiff/api/value.hpp"
#include "skiff/linux/cgroup.hpp"
#include "skiff/runtime/runtime.hpp"
#include "skiff/runtime/shim.hpp"

extern char** environ;  // NOLINT

namespace fs = std::filesystem;
using namespace skiff;
using namespace skiff::runtime;

namespace {

struct Samples {
  std::vector<double> ms;
  void add(Duration d) { ms.push_back(std::chrono::duration<double, std::milli>(d).count()); }
  void print(const char* name) {
    if (ms.empty()) return;
    std::sort(ms.begin(), ms.end());
    auto at = [this](double q) { return ms[static_cast<std::size_t>(q * double(ms.size() - 1))]; };
    std::printf("%-44s median %6.2f ms   p90 %6.2f ms   min %6.2f ms   n %zu\n", name, at(0.5),
                at(0.9), ms.front(), ms.size());
  }
};

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string line_of(const std::string& text, const std::string& start) {
  auto at = text.find(start);
  return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

bool run_program(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const auto& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) return false;
  int status = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct Bench {
  Env env;
  Runtime* runtime;
  std::string dir;
  std::string cgroup;
  int rounds;
  Samples ours, start_only, crun, exec;
};

ContainerConfig busybox_true(const std::string& dir) {
  ContainerConfig c;
  c.name = "true";
  c.rootfs.lower_dirs = {dir + "/image"};
  c.command = {"/bin/busybox", "true"};
  c.log_path = "true/0.log";
  return c;
}

Task<Result<void>> run_once(Bench* b, std::string pod) {
  auto begin = b->env.clock->now();
  ContainerConfig config = busybox_true(b->dir);
  SKIFF_CO_TRY(std::string id, co_await b->runtime->create_container(pod, std::move(config)));
  auto created = b->env.clock->now();
  SKIFF_CO_CHECK(co_await b->runtime->start_container(id));
  while (b->runtime->container_status(id)->state != ContainerState::exited) {
    (void)co_await b->runtime->next_event();
  }
  auto end = b->env.clock->now();
  b->ours.add(end - begin);
  b->start_only.add(end - created);
  co_return co_await b->runtime->remove_container(id);
}

// The bundle that skiff made, with the image as a plain root and a control group of crun's own.
void prepare_crun(Bench* b, const std::string& bundle) {
  auto config = api::parse_json(read_file(bundle + "/config.json"));
  config->member("linux").set("cgroupsPath", "/" + b->cgroup + "/crun");
  config->member("root").set("path", b->dir + "/image");
  fs::create_directories(b->dir + "/crun");
  std::ofstream(b->dir + "/crun/config.json") << api::to_json(*config);
}

bool crun_once(Bench* b, int round) {
  auto begin = b->env.clock->now();
  bool ok =
      run_program({"crun", "--cgroup-manager=cgroupfs", "run", "--bundle", b->dir + "/crun",
                   "skiff-bench-" + std::to_string(::getpid()) + "-" + std::to_string(round)});
  b->crun.add(b->env.clock->now() - begin);
  return ok;
}

Task<Result<void>> exec_once(Bench* b, std::string container) {
  auto begin = b->env.clock->now();
  std::vector<std::string> command = {"/bin/busybox", "true"};
  SKIFF_CO_TRY(auto r, co_await b->runtime->exec_sync(container, std::move(command), 10s));
  if (r.exit_code != 0) co_return Error{Code::internal, "exec failed"};
  b->exec.add(b->env.clock->now() - begin);
  co_return Result<void>();
}

Task<Result<void>> measure(Bench* b) {
  SKIFF_CO_CHECK(co_await b->runtime->recover());
  SandboxConfig sandbox;
  sandbox.name = "bench";
  sandbox.uid = "bench-uid";
  sandbox.hostname = "bench";
  sandbox.log_directory = b->dir + "/logs";
  Samples pods;
  std::string pod;
  for (int i = 0; i < 10; ++i) {
    if (!pod.empty()) SKIFF_CO_CHECK(co_await b->runtime->remove_sandbox(pod));
    auto begin = b->env.clock->now();
    SKIFF_CO_TRY(pod, co_await b->runtime->run_sandbox(sandbox));
    pods.add(b->env.clock->now() - begin);
  }
  ContainerConfig sleeper = busybox_true(b->dir);
  sleeper.command = {"/bin/busybox", "sleep", "1000"};
  SKIFF_CO_TRY(std::string bundle_id,
               co_await b->runtime->create_container(pod, busybox_true(b->dir)));
  prepare_crun(b, b->dir + "/run/sandboxes/" + pod + "/containers/" + bundle_id);
  SKIFF_CO_TRY(std::string sleeping, co_await b->runtime->create_container(pod, sleeper));
  SKIFF_CO_CHECK(co_await b->runtime->start_container(sleeping));
  bool with_crun = ::access("/usr/bin/crun", X_OK) == 0;
  for (int i = 0; i < b->rounds; ++i) {
    SKIFF_CO_CHECK(co_await run_once(b, pod));
    if (with_crun && !crun_once(b, i)) {
      with_crun = false;
      std::printf("crun could not run the bundle; its figures are left out\n");
      b->crun.ms.clear();
    }
    SKIFF_CO_CHECK(co_await exec_once(b, sleeping));
  }
  pods.print("skiff: sandbox (namespaces, cgroups, shim)");
  b->ours.print("skiff: create + start + exit");
  b->start_only.print("skiff: start + exit");
  b->crun.print("crun run, same bundle");
  b->exec.print("skiff: exec_sync in a running container");
  std::string proc = "/proc/" + std::to_string(b->runtime->sandbox_status(pod)->shim_pid);
  std::printf("shim: %s, %s, %s\n", line_of(read_file(proc + "/status"), "VmRSS:").c_str(),
              line_of(read_file(proc + "/status"), "RssAnon:").c_str(),
              line_of(read_file(proc + "/smaps_rollup"), "Pss:").c_str());
  co_return co_await b->runtime->remove_sandbox(pod);
}

Task<int> life(Bench* b) {
  auto measured = co_await measure(b);
  if (!measured) std::printf("failed: %s\n", measured.error().message.c_str());
  co_await b->runtime->close();
  co_return measured ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "shim") == 0) return shim_main(argc - 1, argv + 1);
  if (::geteuid() != 0 || ::access("/bin/busybox", X_OK) != 0) {
    std::printf("left out: needs root and /bin/busybox\n");
    return 0;
  }
  // crun refuses hybrid cgroups: in a mount namespace of our own, for both, the v2 half is away.
  if (::unshare(CLONE_NEWNS) == 0) {
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    ::umount2("/sys/fs/cgroup/unified", MNT_DETACH);
  }
  char name[] = "/tmp/skiff-bench-XXXXXX";
  std::string dir = ::mkdtemp(name);
  fs::create_directories(dir + "/image/bin");
  fs::copy_file("/bin/busybox", dir + "/image/bin/busybox");
  for (const char* d : {"proc", "dev", "sys", "etc"}) fs::create_directories(dir + "/image/" + d);
  asio::io_context io;
  RealClock clock;
  SystemRandom random;
  metrics::Registry registry;
  BlockingPool blocking(2);
  RuntimeOptions options;
  options.state_dir = dir + "/run";
  options.data_dir = dir + "/data";
  options.shim_command = {"skiff-bench", "shim"};
  options.cgroup_parent = fs::path(dir).filename().string();
  Env env{io.get_executor(), &clock, &random, &registry, &blocking};
  auto runtime = make_runtime(env, options);
  if (!runtime) {
    std::printf("left out: %s\n", runtime.error().message.c_str());
    return 0;
  }
  Bench bench{env,
              runtime->get(),
              dir,
              options.cgroup_parent,
              argc > 1 ? std::atoi(argv[1]) : 50,
              {},
              {},
              {},
              {}};
  int code = 1;
  asio::co_spawn(io, life(&bench), [&code](std::exception_ptr, int r) { code = r; });
  io.run();
  runtime->reset();
  auto groups = sys::make_cgroups(sys::real_system(), options.cgroup_parent);
  if (groups) (void)(*groups)->remove("");
  // crun also enters hierarchies that skiff does not use, and leaves the group above its own.
  for (const auto& entry : fs::directory_iterator("/sys/fs/cgroup")) {
    ::rmdir((entry.path() / options.cgroup_parent).c_str());
  }
  if (read_file("/proc/self/mounts").find(dir) == std::string::npos) fs::remove_all(dir);
  return code;
}
