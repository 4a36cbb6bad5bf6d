#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cri/codec.hpp"
#include "cri/files.hpp"
#include "spec/users.hpp"

using namespace skiff;
using namespace skiff::runtime;
namespace fs = std::filesystem;

namespace {

struct Directory {
  Directory() {
    char name[] = "/tmp/skiff-unit-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  void put(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(path + "/" + name).parent_path());
    std::ofstream(path + "/" + name) << text;
  }
  std::string get(const std::string& name) {
    std::ifstream in(path + "/" + name);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::string path;
};

}  // namespace

TEST_CASE("configurations survive the journey through files") {
  SandboxConfig s;
  s.name = "web-0";
  s.uid = "u";
  s.attempt = 3;
  s.labels = {{"app", "web"}};
  s.dns = DnsConfig{{"10.0.0.10"}, {"svc.local"}, {}};
  s.qos_class = "burstable";
  s.resources.memory_limit_bytes = -1;
  s.host_network = true;
  s.sysctls = {{"net.core.somaxconn", "1"}};
  auto s2 = sandbox_config(to_value(s));
  CHECK(to_value(s2) == to_value(s));
  CHECK(s2.dns->searches == s.dns->searches);
  CHECK(s2.host_network);
  CHECK(s2.shm_size_bytes == 64 << 20);

  ContainerConfig c;
  c.name = "main";
  c.rootfs.lower_dirs = {"/l1", "/l2"};
  c.env = {{"A", "1"}, {"A", "2"}};
  c.mounts = {{"/c", "/h", "sub", true, true, Propagation::bidirectional}};
  c.devices = {{"/dev/kvm", "/dev/kvm", "rw"}};
  c.security.run_as_user = 0;
  c.security.seccomp = {SeccompType::localhost, "p.json"};
  c.security.masked_paths = std::vector<std::string>{};
  c.security.supplemental_groups = {1, 2};
  c.image_config.entrypoint = {"/e"};
  c.image_config.stop_signal = "SIGQUIT";
  c.tty = true;
  auto c2 = container_config(to_value(c));
  CHECK(to_value(c2) == to_value(c));
  CHECK(c2.security.run_as_user == 0);
  CHECK(!c2.security.run_as_group);
  CHECK(c2.security.masked_paths == std::vector<std::string>{});
  CHECK(!c2.security.readonly_paths);
  CHECK(c2.env == c.env);
  CHECK(c2.mounts[0].propagation == Propagation::bidirectional);
  CHECK(c2.log_max_bytes == c.log_max_bytes);
  // What another version wrote, or nobody.
  CHECK(sandbox_config(api::Value()).qos_class == "besteffort");
  CHECK(container_config(*api::parse_json(R"({"name": "x", "future": {"y": [1]}})")).name == "x");
}

TEST_CASE("exit records") {
  auto r = parse_exit_record(
      "pid=12\nstarted_at=5\nfinished_at=9\nexit_code=137\nsignal=9\noom=1\n"
      "message=two\nlines=here\n");
  CHECK(r.pid == 12);
  CHECK(r.started_at == 5);
  CHECK(r.finished_at == 9);
  CHECK(r.exit_code == 137);
  CHECK(r.signal == 9);
  CHECK(r.oom);
  CHECK(r.message == "two\nlines=here");
  CHECK(parse_exit_record("").exit_code == 0);
  CHECK(parse_exit_record("exit_code=x\n=\nnothing\n").exit_code == 0);
}

TEST_CASE("files of an image are looked up from the top layer down") {
  Directory d;
  d.put("low/etc/passwd", "low");
  d.put("low/etc/only", "only low");
  d.put("mid/etc/passwd", "mid");
  fs::create_directories(d.path + "/top/etc");
  std::vector<std::string> layers = {d.path + "/low", d.path + "/mid", d.path + "/top"};
  CHECK(read_layered(layers, "/etc/passwd") == "mid");
  CHECK(read_layered(layers, "/etc/only") == "only low");
  CHECK(read_layered(layers, "/etc/none").empty());
  // A link that leads out leads nowhere.
  d.put("secret", "host");
  fs::create_symlink("../../secret", d.path + "/top/etc/passwd");
  CHECK(read_layered({d.path + "/top"}, "/etc/passwd").empty());
  fs::remove(d.path + "/top/etc/passwd");
  fs::create_directories(d.path + "/top/etc/passwd");
  CHECK(read_layered(layers, "/etc/passwd").empty());
}

TEST_CASE("layers copied on top of each other") {
  Directory d;
  d.put("a/keep", "a");
  d.put("a/replaced", "a");
  d.put("a/dir/gone", "a");
  d.put("a/dir/stays", "a");
  d.put("a/was-dir/x", "a");
  d.put("b/replaced", "b");
  d.put("b/dir/new", "b");
  d.put("b/was-dir", "now a file");
  fs::create_symlink("keep", d.path + "/b/link");
  fs::permissions(d.path + "/b/replaced", fs::perms(0640));
  const bool root = ::geteuid() == 0;
  if (root) {
    REQUIRE(::mknod((d.path + "/b/dir/gone").c_str(), S_IFCHR, makedev(0, 0)) == 0);
    REQUIRE(::chown((d.path + "/b/replaced").c_str(), 12, 34) == 0);
  }
  std::string target = d.path + "/out";
  auto copied = copy_layers({d.path + "/a", d.path + "/b"}, target);
  REQUIRE(copied.has_value());
  CHECK(d.get("out/keep") == "a");
  CHECK(d.get("out/replaced") == "b");
  CHECK(d.get("out/dir/new") == "b");
  CHECK(d.get("out/dir/stays") == "a");
  CHECK(d.get("out/was-dir") == "now a file");
  CHECK(fs::read_symlink(target + "/link") == "keep");
  struct stat st;
  REQUIRE(::stat((target + "/replaced").c_str(), &st) == 0);
  CHECK((st.st_mode & 0777U) == 0640U);
  if (root) {
    CHECK(st.st_uid == 12);
    CHECK(!fs::exists(target + "/dir/gone"));
  }
  CHECK(copy_layers({d.path + "/missing"}, target).has_error());
}

TEST_CASE("volumes are made when missing, sub paths stay inside") {
  Directory d;
  fs::create_directories(d.path + "/vol/real");
  fs::create_symlink("real", d.path + "/vol/link");
  fs::create_symlink(d.path, d.path + "/vol/out");
  std::vector<std::string> canonical;
  std::vector<Mount> mounts = {{"/a/", d.path + "/made/here", "", false, false, {}},
                               {"relative", d.path + "/vol", "link", false, false, {}},
                               {"/c", d.path + "/vol", "x/y/", false, false, {}}};
  auto r = resolve_mounts(mounts, canonical);
  REQUIRE(r.has_value());
  CHECK((*r)[0].container_path == "/a");
  CHECK(fs::is_directory(d.path + "/made/here"));
  CHECK((*r)[1].container_path == "/relative");
  CHECK((*r)[1].host_path == d.path + "/vol/real");
  CHECK((*r)[2].host_path == d.path + "/vol/x/y");
  CHECK(canonical.size() == 2);
  for (const char* bad : {"out", "../vol/real", "out/secret", "/etc"}) {
    auto refused =
        resolve_mounts({{"/c", d.path + "/vol", bad, false, false, Propagation::none}}, canonical);
    CHECK(refused.has_error());
  }
}
