#include "runtime_fixture.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "skiff/linux/cgroup.hpp"

namespace skiff::test {

namespace fs = std::filesystem;

std::string missing_privilege() {
  if (::geteuid() != 0) return "running containers takes root";
  if (!exists("/bin/busybox")) return "/bin/busybox is missing (package busybox-static)";
  return "";
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::vector<int> processes_matching(const std::string& text) {
  std::vector<int> out;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == ::getpid()) continue;
    if (read_file(entry.path() / "cmdline").find(text) != std::string::npos) out.push_back(pid);
  }
  return out;
}

namespace {

// busybox with its applets' names, and the files a small image has.
void make_image(const std::string& dir) {
  for (const char* d : {"/bin", "/etc", "/tmp", "/root", "/home/app"}) {
    fs::create_directories(dir + d);
  }
  fs::copy_file("/bin/busybox", dir + "/bin/busybox");
  for (const char* applet :
       {"sh",    "cat",   "echo", "sleep", "true", "false",  "id",  "ls",     "mount",   "hostname",
        "touch", "mkdir", "head", "tail",  "dd",   "kill",   "nc",  "wc",     "grep",    "ps",
        "env",   "pwd",   "stat", "mknod", "ip",   "seq",    "yes", "chroot", "unshare", "trap",
        "tr",    "cut",   "sort", "test",  "stty", "umount", "ln",  "rm"}) {
    fs::create_symlink("busybox", dir + "/bin/" + applet);
  }
  std::ofstream(dir + "/etc/passwd") << "root:x:0:0:root:/root:/bin/sh\n"
                                        "app:x:1000:1001:app:/home/app:/bin/sh\n";
  std::ofstream(dir + "/etc/group") << "root:x:0:\napp:x:1001:\nextra:x:2000:app,other\n";
  fs::permissions(dir + "/tmp", fs::perms::all | fs::perms::sticky_bit);
}

}  // namespace

RuntimeFixture::RuntimeFixture() {
  if (auto why = missing_privilege(); !why.empty()) SKIP(why);
  char name[] = "/tmp/skiff-runtime-XXXXXX";
  dir_ = ::mkdtemp(name);
  make_image(dir_ + "/image");
  open();
}

RuntimeFixture::~RuntimeFixture() {
  if (runtime_) {
    for (const auto& s : runtime_->list_sandboxes()) (void)run(runtime_->remove_sandbox(s.id));
    close();
  }
  std::error_code ignored;
  // Nothing may be mounted below any more; if something is, it is left for the eye to see.
  if (read_file("/proc/self/mounts").find(dir_) == std::string::npos) fs::remove_all(dir_, ignored);
  auto cgroups = sys::make_cgroups(sys::real_system(), options().cgroup_parent);
  if (cgroups) (void)(*cgroups)->remove("");
}

runtime::RuntimeOptions RuntimeFixture::options() const {
  runtime::RuntimeOptions o;
  o.state_dir = state_dir();
  o.data_dir = dir_ + "/data";
  o.shim_command = {"skiff-test", "shim"};
  o.cgroup_parent = "skiff-test-" + fs::path(dir_).filename().string();
  o.seccomp_profile_root = dir_ + "/seccomp";
  return o;
}

void RuntimeFixture::open() {
  auto made = runtime::make_runtime(env_, options());
  if (!made) FAIL(made.error().message);
  runtime_ = std::move(*made);
  must(runtime_->recover());
}

void RuntimeFixture::close() {
  run(runtime_->close());
  runtime_.reset();
}

void RuntimeFixture::restart() {
  close();
  open();
}

void RuntimeFixture::drive(const bool& done) {
  io_.restart();
  while (!done) {
    if (io_.run_one() == 0) {
      // Only blocking work is under way: the pool posts back.
      ::usleep(200);
      io_.restart();
    }
  }
  // The task's own end, and what it woke.
  while (io_.poll_one() > 0) {
  }
}

void RuntimeFixture::run(Task<void> task) {
  bool done = false;
  auto wrapped = [](Task<void> t, bool& flag) -> Task<void> {
    co_await std::move(t);
    flag = true;
  };
  TaskGroup group(env_.executor);
  group.spawn("test", wrapped(std::move(task), done));
  drive(done);
}

void RuntimeFixture::must(Task<Result<void>> task) {
  auto r = run(std::move(task));
  if (!r) FAIL(r.error().message);
}

void RuntimeFixture::wait_for(std::function<bool()> condition, const char* what) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return;
    run(clock_.sleep_for(10ms));
  }
  FAIL("waited in vain for " << what);
}

runtime::SandboxConfig RuntimeFixture::sandbox_config(const std::string& name) const {
  runtime::SandboxConfig c;
  c.name = name;
  c.name_space = "default";
  c.uid = name + "-uid";
  c.hostname = name;
  c.log_directory = dir_ + "/logs/" + name;
  c.dns = runtime::DnsConfig{{"10.96.0.10"}, {"default.svc.cluster.local"}, {"ndots:5"}};
  return c;
}

runtime::ContainerConfig RuntimeFixture::command(std::vector<std::string> words) const {
  runtime::ContainerConfig c;
  c.name = "main";
  c.image = "busybox:test";
  c.rootfs = rootfs();
  c.command = std::move(words);
  return c;
}

runtime::ContainerConfig RuntimeFixture::shell(const std::string& script) const {
  return command({"/bin/sh", "-c", script});
}

std::string RuntimeFixture::sandbox() { return must(runtime_->run_sandbox(sandbox_config())); }

std::string RuntimeFixture::start(const std::string& sandbox_id, runtime::ContainerConfig config) {
  if (config.log_path.empty()) config.log_path = "c" + std::to_string(names_++) + "/0.log";
  std::string id = must(runtime_->create_container(sandbox_id, std::move(config)));
  must(runtime_->start_container(id));
  return id;
}

runtime::ContainerStatus RuntimeFixture::wait_exit(const std::string& id) {
  wait_for([&] { return runtime_->container_status(id)->state == runtime::ContainerState::exited; },
           "the container's end");
  return *runtime_->container_status(id);
}

std::string RuntimeFixture::log(const std::string& container_id) const {
  return read_file(runtime_->container_status(container_id)->log_path);
}

std::string RuntimeFixture::output(const std::string& container_id) const {
  std::istringstream lines(log(container_id));
  std::string line;
  std::string out;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string time, stream, tag;
    words >> time >> stream >> tag;
    out += line.substr(time.size() + stream.size() + tag.size() + 3);
    if (tag == "F") out += "\n";
  }
  return out;
}

std::string RuntimeFixture::sh(const std::string& sandbox_id, const std::string& script) {
  std::string id = start(sandbox_id, shell(script));
  wait_exit(id);
  return output(id);
}

std::vector<std::string> RuntimeFixture::leftovers() const {
  std::vector<std::string> out;
  std::istringstream mounts(read_file("/proc/self/mounts"));
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(dir_) != std::string::npos) out.push_back("mount: " + line);
  }
  auto cgroups = sys::make_cgroups(sys::real_system(), options().cgroup_parent);
  if (cgroups) {
    for (const char* group : {"pods/besteffort", "pods/burstable", "pods/guaranteed"}) {
      auto names = (*cgroups)->children(group);
      if (!names) continue;
      for (const auto& name : *names) out.push_back(std::string("cgroup: ") + group + "/" + name);
    }
    auto pids = (*cgroups)->processes("");
    if (pids) {
      for (auto pid : *pids) out.push_back("process: " + std::to_string(pid));
    }
  }
  for (const char* place : {"/run/sandboxes", "/run/netns", "/data/containers"}) {
    if (!exists(dir_ + place)) continue;
    for (const auto& entry : fs::directory_iterator(dir_ + place)) {
      out.push_back("file: " + entry.path().string());
    }
  }
  for (int pid : processes_matching(dir_)) out.push_back("process: " + std::to_string(pid));
  return out;
}

int victim_main(int argc, char** argv) {
  if (argc != 2) return 2;
  // Its own runtime over the test's directories; the fixture's is closed meanwhile.
  asio::io_context io;
  RealClock clock;
  SystemRandom random;
  metrics::Registry registry;
  BlockingPool blocking(1);
  Env env{io.get_executor(), &clock, &random, &registry, &blocking};
  runtime::RuntimeOptions o;
  std::string dir = argv[1];
  o.state_dir = dir + "/run";
  o.data_dir = dir + "/data";
  o.shim_command = {"skiff-test", "shim"};
  o.cgroup_parent = "skiff-test-" + fs::path(dir).filename().string();
  auto made = runtime::make_runtime(env, o);
  if (!made) return 3;
  auto life = [](runtime::Runtime* rt, std::string d, Clock* c) -> Task<void> {
    auto recovered = co_await rt->recover();
    if (!recovered) std::_Exit(4);
    runtime::SandboxConfig sandbox;
    sandbox.name = "victim";
    sandbox.uid = "victim-uid";
    sandbox.hostname = "victim";
    sandbox.log_directory = d + "/logs";
    auto sid = co_await rt->run_sandbox(sandbox);
    if (!sid) std::_Exit(5);
    runtime::ContainerConfig config;
    config.name = "main";
    config.rootfs.lower_dirs = {d + "/image"};
    config.labels["app"] = "victim";
    config.command = {"/bin/sh", "-c", "i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done"};
    config.log_path = "main/0.log";
    auto cid = co_await rt->create_container(*sid, config);
    if (!cid) std::_Exit(6);
    auto started = co_await rt->start_container(*cid);
    if (!started) std::_Exit(7);
    config.command = {"/bin/sh", "-c", "sleep 1; exit 42"};
    config.log_path = "short/0.log";
    auto second = co_await rt->create_container(*sid, config);
    if (!second) std::_Exit(8);
    started = co_await rt->start_container(*second);
    if (!started) std::_Exit(9);
    std::cout << *sid << " " << *cid << " " << *second << std::endl;
    co_await c->sleep_for(1h);
  };
  asio::co_spawn(io, life(made->get(), dir, &clock), [](std::exception_ptr) {});
  io.run();
  return 0;
}

}  // namespace skiff::test
