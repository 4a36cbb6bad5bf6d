#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime_fixture.hpp"

using namespace skiff;
using namespace skiff::runtime;
using test::RuntimeFixture;

namespace {

std::string line_of(const std::string& text, const std::string& start) {
  auto at = text.find(start);
  if (at == std::string::npos) return "";
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace

TEST_CASE("a container has its own namespaces, host name and files") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  CHECK(f.sh(pod, "echo $$; hostname; cat /etc/hostname; echo $HOSTNAME") == "1\npod\npod\npod\n");
  CHECK(f.sh(pod, "cat /etc/resolv.conf") ==
        "search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n");
  CHECK(f.sh(pod, "ip -o link | wc -l; ip -o link show lo | grep -c UP").find("1\n") !=
        std::string::npos);
  CHECK(f.sh(pod, "ls /; ls -d /proc/1").find(f.dir()) == std::string::npos);
  // Nothing of the host is mounted; the root is the overlay.
  std::string mounts = f.sh(pod, "cat /proc/self/mounts");
  CHECK(line_of(mounts, "overlay / overlay") != "");
  CHECK(mounts.find("ext4 /mnt") == std::string::npos);
  CHECK(f.sh(pod, "touch /new && echo ok") == "ok\n");
  CHECK(!test::exists(f.dir() + "/image/new"));
  CHECK(f.sh(pod, "ls -l /dev | grep -cE 'null|zero|full|random|urandom|tty'").starts_with("6"));
  CHECK(f.sh(pod, "echo x > /dev/null && head -c 3 /dev/zero | wc -c") == "3\n");
  CHECK(f.sh(pod, "cat /proc/self/oom_score_adj") == "0\n");
}

TEST_CASE("containers of a pod share network, IPC and /dev/shm") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  f.sh(pod, "echo shared > /dev/shm/x");
  CHECK(f.sh(pod, "cat /dev/shm/x") == "shared\n");
  std::string other = f.must(f.runtime().run_sandbox(f.sandbox_config("other")));
  CHECK(f.sh(other, "ls /dev/shm | wc -l") == "0\n");
  std::string server = f.start(pod, f.shell("while true; do echo hello | nc -l -p 4000; done"));
  f.wait_for([&] { return f.sh(pod, "sleep 1 | nc 127.0.0.1 4000").starts_with("hello"); },
             "a connection within the pod");
}

TEST_CASE("default privileges are few") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string status = f.sh(pod, "cat /proc/self/status");
  CHECK(line_of(status, "CapEff:") == "CapEff:\t00000000a80425fb");
  CHECK(line_of(status, "CapBnd:") == "CapBnd:\t00000000a80425fb");
  CHECK(line_of(status, "CapInh:") == "CapInh:\t0000000000000000");
  CHECK(line_of(status, "Seccomp:") == "Seccomp:\t2");
  CHECK(line_of(status, "NoNewPrivs:") == "NoNewPrivs:\t0");
  CHECK(f.sh(pod, "mount -t tmpfs t /tmp 2>&1 || echo refused").find("refused") !=
        std::string::npos);
  CHECK(f.sh(pod, "unshare -U true 2>&1 || echo refused").find("refused") != std::string::npos);
  CHECK(f.sh(pod, "echo 1 > /proc/sys/kernel/panic || echo refused").find("refused") !=
        std::string::npos);
  CHECK(f.sh(pod, "cat /proc/timer_list 2>/dev/null | wc -c") == "0\n");
  CHECK(f.sh(pod, "ls /sys/firmware | wc -l") == "0\n");
  // A device node may be made but not opened.
  CHECK(f.sh(pod, "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk 2>&1").find("not permitted") !=
        std::string::npos);
}

TEST_CASE("privileges are given and taken") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  auto c = f.shell("cat /proc/self/status; id");
  SECTION("dropped, added, no new privileges") {
    c.security.drop_capabilities = {"ALL"};
    c.security.add_capabilities = {"NET_BIND_SERVICE", "CAP_SYS_TIME"};
    c.security.no_new_privileges = true;
    std::string id = f.start(pod, c);
    f.wait_exit(id);
    std::string out = f.output(id);
    CHECK(line_of(out, "CapEff:") == "CapEff:\t0000000002000400");
    CHECK(line_of(out, "NoNewPrivs:") == "NoNewPrivs:\t1");
    CHECK(line_of(out, "Seccomp:") == "Seccomp:\t2");
  }
  SECTION("a user by number") {
    c.security.run_as_user = 1000;
    c.security.supplemental_groups = {3000};
    std::string id = f.start(pod, c);
    f.wait_exit(id);
    std::string out = f.output(id);
    CHECK(line_of(out, "CapEff:") == "CapEff:\t0000000000000000");
    CHECK(line_of(out, "uid=") == "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra),3000");
    auto status = *f.runtime().container_status(id);
    CHECK(status.user == 1000);
    CHECK(status.group == 1001);
    CHECK(status.groups == std::vector<std::int64_t>{1001, 2000, 3000});
  }
  SECTION("the image's user, writing to its standard output anew") {
    c.image_config.user = "app";
    c.command = {"/bin/sh", "-c", "id -u; echo $HOME; echo direct > /dev/stdout; pwd"};
    c.working_dir = "/home/app/made";
    std::string id = f.start(pod, c);
    f.wait_exit(id);
    CHECK(f.output(id) == "1000\n/home/app\ndirect\n/home/app/made\n");
  }
  SECTION("privileged") {
    c.security.privileged = true;
    c.command = {"/bin/sh", "-c",
                 "cat /proc/self/status; mount -t tmpfs t /tmp && echo mounted; ls /dev"};
    std::string id = f.start(pod, c);
    f.wait_exit(id);
    std::string out = f.output(id);
    CHECK(line_of(out, "Seccomp:") == "Seccomp:\t0");
    CHECK(out.find("mounted") != std::string::npos);
    CHECK(out.find("kmsg") != std::string::npos);
  }
  SECTION("an unknown user or capability") {
    c.image_config.user = "nobody-here";
    auto r = f.run(f.runtime().create_container(pod, c));
    REQUIRE(!r);
    CHECK(r.error().message ==
          "unable to find user nobody-here: no matching entries in passwd file");
    c.image_config.user = "";
    c.security.add_capabilities = {"NOT_ONE"};
    r = f.run(f.runtime().create_container(pod, c));
    REQUIRE(!r);
    CHECK(r.error().code == Code::invalid);
  }
}

TEST_CASE("a read-only root is read-only, its volumes need not be") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string volume = f.dir() + "/volume";
  std::filesystem::create_directories(volume + "/sub");
  std::ofstream(volume + "/file") << "content\n";
  auto c = f.shell("touch /x 2>&1; touch /vol/made && echo written; touch /ro/x 2>&1; cat /one");
  c.security.read_only_root = true;
  Mount rw{"/vol", volume, "", false, false, Propagation::none};
  Mount ro{"/ro", volume, "", true, false, Propagation::none};
  Mount one{"/one", volume, "file", true, false, Propagation::none};
  c.mounts = {rw, ro, one};
  std::string id = f.start(pod, c);
  CHECK(f.wait_exit(id).exit_code == 0);
  std::string out = f.output(id);
  CHECK(out.find("/x: Read-only file system") != std::string::npos);
  CHECK(out.find("written\n") != std::string::npos);
  CHECK(out.find("/ro/x: Read-only file system") != std::string::npos);
  CHECK(out.ends_with("content\n"));
  CHECK(test::exists(volume + "/made"));
}

TEST_CASE("a sub path stays inside its volume") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::string volume = f.dir() + "/volume";
  std::filesystem::create_directories(volume);
  std::filesystem::create_symlink("/etc", volume + "/escape");
  std::filesystem::create_symlink("../image", volume + "/up");
  std::filesystem::create_directories(volume + "/real");
  std::filesystem::create_symlink("real", volume + "/link");
  auto c = f.shell("touch /m/x && echo ok");
  for (const char* bad : {"escape", "up", "../image", "escape/passwd"}) {
    c.mounts = {{"/m", volume, bad, false, false, Propagation::none}};
    auto r = f.run(f.runtime().create_container(pod, c));
    REQUIRE(!r);
    CHECK(r.error().message.find("it leads out of the volume") != std::string::npos);
  }
  for (const char* good : {"link", "new/deep", "real"}) {
    c.mounts = {{"/m", volume, good, false, false, Propagation::none}};
    std::string id = f.start(pod, c);
    CHECK(f.wait_exit(id).exit_code == 0);
  }
  CHECK(test::exists(volume + "/real/x"));
  CHECK(test::exists(volume + "/new/deep/x"));
}

TEST_CASE("an image cannot lead a mount to the host") {
  RuntimeFixture f;
  std::string image = f.dir() + "/image";
  std::filesystem::create_directories(f.dir() + "/volume");
  std::ofstream(f.dir() + "/volume/mine") << "x";
  // Absolute and dangling links, as real images have.
  std::filesystem::create_symlink("/run/data", image + "/data");
  std::filesystem::create_symlink("../../../../../../tmp/up", image + "/up");
  std::filesystem::create_symlink("/nowhere/resolv.conf", image + "/etc/resolv.conf");
  std::string pod = f.sandbox();
  auto c = f.shell("ls /data /up; ls /run/data; cat /nowhere/resolv.conf | head -n 1");
  c.mounts = {{"/data", f.dir() + "/volume", "", false, false, Propagation::none},
              {"/up", f.dir() + "/volume", "", false, false, Propagation::none}};
  std::string id = f.start(pod, c);
  CHECK(f.wait_exit(id).exit_code == 0);
  CHECK(f.output(id) == "/data:\nmine\n\n/up:\nmine\nmine\nsearch default.svc.cluster.local\n");
  CHECK(!test::exists("/run/data"));
  CHECK(!test::exists("/nowhere"));
}

TEST_CASE("where overlayfs is refused, the image is copied") {
  RuntimeFixture f;
  f.close();
  // An overlay cannot be the writable layer of another: what happens inside containers.
  std::string data = f.dir() + "/data";
  for (const char* d : {"/o-upper", "/o-work"}) std::filesystem::create_directories(f.dir() + d);
  std::string options = "lowerdir=" + f.dir() + "/image,upperdir=" + f.dir() +
                        "/o-upper,workdir=" + f.dir() + "/o-work";
  REQUIRE(::mount("overlay", data.c_str(), "overlay", 0, options.c_str()) == 0);
  f.open();
  std::string pod = f.sandbox();
  CHECK(f.sh(pod, "echo changed > /etc/passwd; cat /etc/passwd; grep ' / ' /proc/self/mounts")
            .starts_with("changed\n"));
  CHECK(test::read_file(f.dir() + "/image/etc/passwd").starts_with("root:"));
  f.must(f.runtime().remove_sandbox(pod));
  f.close();
  REQUIRE(::umount2(data.c_str(), MNT_DETACH) == 0);
  f.open();
}

TEST_CASE("pods may share the host's namespaces or one of their own") {
  RuntimeFixture f;
  auto config = f.sandbox_config();
  SECTION("processes among containers") {
    config.share_process_namespace = true;
    std::string pod = f.must(f.runtime().run_sandbox(config));
    f.start(pod, f.command({"/bin/sleep", "7777"}));
    std::string ps = f.sh(pod, "echo $$; ps -o pid,args");
    CHECK(!ps.starts_with("1\n"));
    CHECK(ps.find("sleep 7777") != std::string::npos);
    // The namespace's first process has an empty root: nothing of the host is to be seen there.
    auto peek = f.shell("ls /proc/1/root | wc -l");
    peek.security.privileged = true;
    std::string id = f.start(pod, peek);
    f.wait_exit(id);
    CHECK(f.output(id) == "0\n");
  }
  SECTION("the host's network, processes and IPC") {
    config.host_network = config.host_pid = config.host_ipc = true;
    config.hostname = "";
    std::string pod = f.must(f.runtime().run_sandbox(config));
    CHECK(f.runtime().sandbox_status(pod)->netns_path.empty());
    char link[64] = {};
    CHECK(::readlink("/proc/self/ns/net", link, sizeof link - 1) > 0);
    CHECK(f.sh(pod, "ls -l /proc/self/ns/net").find(link) != std::string::npos);
    std::string script = "test -d /proc/" + std::to_string(::getpid()) + " && echo seen";
    CHECK(f.sh(pod, script) == "seen\n");
    // What it leaves running dies with it, though no namespace does.
    std::string nap = std::to_string(100'000 + ::getpid());
    CHECK(f.sh(pod, "sleep " + nap + " & echo started") == "started\n");
    f.wait_for([&] { return test::processes_matching(nap).empty(); }, "leftovers to be ended");
  }
}

TEST_CASE("sysctls, limits and terminals") {
  RuntimeFixture f;
  auto config = f.sandbox_config();
  config.sysctls["net.ipv4.ip_local_port_range"] = "2000 3000";
  config.sysctls["kernel.shmmax"] = "123456";
  config.shm_size_bytes = 1 << 20;
  std::string pod = f.must(f.runtime().run_sandbox(config));
  CHECK(f.sh(pod, "cat /proc/sys/net/ipv4/ip_local_port_range").starts_with("2000\t3000"));
  CHECK(f.sh(pod, "cat /proc/sys/kernel/shmmax") == "123456\n");
  CHECK(f.sh(pod, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n");
  CHECK(f.sh(pod, "dd if=/dev/zero of=/dev/shm/x bs=1M count=2 2>&1").find("No space") !=
        std::string::npos);
  auto c = f.shell("ulimit -n; test -t 0 && test -t 1 && echo terminal; ls -l /dev/console");
  c.rlimits["RLIMIT_NOFILE"] = "100:200";
  c.tty = true;
  std::string id = f.start(pod, c);
  f.wait_exit(id);
  std::string out = f.output(id);
  CHECK(out.find("100") == 0);
  CHECK(out.find("terminal") != std::string::npos);
  CHECK(out.find("/dev/console") != std::string::npos);
}

TEST_CASE("a seccomp profile of one's own") {
  RuntimeFixture f;
  std::string pod = f.sandbox();
  std::filesystem::create_directories(f.dir() + "/seccomp");
  std::ofstream(f.dir() + "/seccomp/no-mkdir.json")
      << R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
             {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]})";
  auto c = f.shell("mkdir /tmp/x 2>&1");
  c.security.seccomp = {SeccompType::localhost, "no-mkdir.json"};
  std::string id = f.start(pod, c);
  f.wait_exit(id);
  CHECK(f.output(id).find("No space left on device") != std::string::npos);
  c.security.seccomp = {SeccompType::localhost, "missing.json"};
  auto r = f.run(f.runtime().create_container(pod, c));
  REQUIRE(!r);
  CHECK(r.error().message.starts_with("cannot load seccomp profile"));
  c.security.seccomp = {SeccompType::unconfined, ""};
  c.command = {"/bin/grep", "Seccomp:", "/proc/self/status"};
  id = f.start(pod, c);
  f.wait_exit(id);
  CHECK(f.output(id) == "Seccomp:\t0\n");
}
