// Images against Debian's docker-registry and the kernel's overlayfs.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>

#include "network_lab.hpp"
#include "skiff/http/client.hpp"
#include "skiff/runtime/images.hpp"
#include "unit/runtime/image_fixture.hpp"

// Private to the room, but a registry wants digests.
#include "image_digest.hpp"

using namespace skiff;
using namespace skiff::runtime;
namespace fs = std::filesystem;

namespace {

constexpr const char* kRegistry = "/usr/bin/docker-registry";
constexpr std::uint16_t kPort = 5000;

// docker-registry in this thread's network namespace, its storage in a scratch directory.
class Registry {
 public:
  explicit Registry(lab::World& world) : world_(world), http_(world.env) {
    const auto config = scratch_.path / "config.yml";
    std::ofstream(config) << fmt::format(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\n"
        "http: {{addr: '127.0.0.1:{}', secret: test}}\n",
        scratch_.path.string(), kPort);
    child_ = ::fork();
    if (child_ == 0) {
      const int null = ::open("/dev/null", O_WRONLY);
      ::dup2(null, 1);
      ::dup2(null, 2);
      ::execl(kRegistry, kRegistry, "serve", config.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 200 && send(http::Method::get, "/v2/", "", "").status != 200; ++i) {
      ::usleep(50'000);
    }
  }
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;
  ~Registry() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

  http::ClientResponse send(http::Method method, const std::string& target, std::string body,
                            const std::string& type) {
    http::ClientRequest request;
    request.method = method;
    request.url =
        target.starts_with("http") ? target : fmt::format("http://127.0.0.1:{}{}", kPort, target);
    if (!type.empty()) request.headers.add("Content-Type", type);
    request.body = std::move(body);
    auto answer = world_.run(http_.request(std::move(request)));
    return answer ? *answer : http::ClientResponse{};
  }

  std::string push_blob(const std::string& name, const std::string& blob) {
    const std::string digest = "sha256:" + sha256_hex(blob);
    const auto begun = send(http::Method::post, "/v2/" + name + "/blobs/uploads/", "", "");
    REQUIRE(begun.status == 202);
    const std::string location(begun.headers.get("Location"));
    const char separator = location.find('?') == std::string::npos ? '?' : '&';
    const auto put = send(http::Method::put, location + separator + "digest=" + digest, blob,
                          "application/octet-stream");
    REQUIRE(put.status == 201);
    return digest;
  }

  void push(const std::string& name, const std::string& tag,
            const std::vector<std::string>& layers) {
    std::string ids, list;
    for (const auto& l : layers) {
      const auto digest = push_blob(name, l);
      ids += (ids.empty() ? "\"" : ",\"") + digest + "\"";
      list += fmt::format(
          "{}{{\"mediaType\":\"application/"
          "vnd.docker.image.rootfs.diff.tar\",\"digest\":\"{}\",\"size\":{}}}",
          list.empty() ? "" : ",", digest, l.size());
    }
    const std::string config = fmt::format(
        R"({{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}})",
        ids);
    const auto config_digest = push_blob(name, config);
    const std::string type = "application/vnd.docker.distribution.manifest.v2+json";
    const auto put = send(
        http::Method::put, fmt::format("/v2/{}/manifests/{}", name, tag),
        fmt::format(
            R"({{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{}","size":{}}},"layers":[{}]}})",
            type, config_digest, config.size(), list),
        type);
    REQUIRE(put.status == 201);
  }

 private:
  lab::World& world_;
  http::Client http_;
  Scratch scratch_;
  pid_t child_ = -1;
};

}  // namespace

TEST_CASE("pulled from a registry, stacked by overlayfs") {
  if (const auto why = lab::missing(); !why.empty()) SKIP(why);
  if (::access(kRegistry, X_OK) != 0) SKIP("needs Debian's docker-registry");
  const auto home = lab::Namespace::enter_fresh();
  REQUIRE(::unshare(CLONE_NEWNS) == 0);
  REQUIRE(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  lab::World world;
  Registry registry(world);
  const std::string base = tar_of({{"bin", 'd', "", 0755},
                                   {"bin/tool", 'f', "tool"},
                                   {"etc/old", 'f', "old"},
                                   {"var/cache/a", 'f', "a"},
                                   {"var/cache/b", 'f', "b"}});
  const std::string top = tar_of({{"etc/.wh.old", 'f', ""},
                                  {"etc/new", 'f', "new"},
                                  {"var/cache/.wh..wh..opq", 'f', ""},
                                  {"var/cache/c", 'f', "c"}});
  registry.push("team/app", "1", {base, top});

  const Scratch dir;
  ImageOptions options;
  options.root = (dir.path / "images").string();
  options.architecture = "amd64";
  ImageStore store(world.env, options);
  REQUIRE(world.run(store.open()).has_value());
  const std::string ref = fmt::format("localhost:{}/team/app:1", kPort);
  const auto image = world.run(store.pull(ref));
  if (!image) FAIL(image.error().message);
  REQUIRE(image->layers.size() == 2);
  CHECK(image->config.cmd == std::vector<std::string>{"sh"});
  CHECK(world.run(store.pull(image->digests.front())).has_value());
  const auto absent = world.run(store.pull(fmt::format("localhost:{}/team/app:2", kPort)));
  REQUIRE_FALSE(absent.has_value());
  CHECK(absent.error().code == Code::not_found);

  const auto merged = dir.path / "merged";
  fs::create_directory(merged);
  const std::string lower = fmt::format("lowerdir={}:{}", image->layers[1], image->layers[0]);
  REQUIRE(::mount("overlay", merged.c_str(), "overlay", MS_RDONLY, lower.c_str()) == 0);
  CHECK(fs::exists(merged / "bin/tool"));
  CHECK_FALSE(fs::exists(merged / "etc/old"));
  CHECK(fs::exists(merged / "etc/new"));
  CHECK_FALSE(fs::exists(merged / "var/cache/a"));
  CHECK(fs::exists(merged / "var/cache/c"));
  REQUIRE(::umount(merged.c_str()) == 0);

  REQUIRE(world.run(store.remove(ref)).has_value());
  CHECK(fs::is_empty(dir.path / "images/layers"));
  world.run(store.stop());
}
