#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>

#include "image_digest.hpp"
#include "image_fixture.hpp"
#include "skiff/http/server.hpp"
#include "skiff/runtime/images.hpp"

using namespace skiff;
using namespace skiff::runtime;
namespace fs = std::filesystem;

namespace {

// A loop with everything real on it.
struct World {
  asio::io_context io;
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{2};
  Env env{io.get_executor(), &clock, &random, &metrics, &blocking};

  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    std::exception_ptr error;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr e, T value) {
      error = e;
      result.emplace(std::move(value));
    });
    io.restart();
    while (!result) io.run_one();
    if (error) std::rethrow_exception(error);
    return std::move(*result);
  }
  void run(Task<void> task) {
    auto wrap = [](Task<void> t) -> Task<bool> {
      co_await std::move(t);
      co_return true;
    };
    run(wrap(std::move(task)));
  }
};

struct Store {
  World& world;
  ImageStore store;
  Store(World& w, const fs::path& root, std::string registry = "")
      : world(w), store(w.env, options(root, std::move(registry))) {
    REQUIRE(world.run(store.open()).has_value());
  }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store() { world.run(store.stop()); }
  static ImageOptions options(const fs::path& root, std::string registry) {
    ImageOptions o;
    o.root = root.string();
    o.default_registry = std::move(registry);
    o.architecture = "amd64";
    return o;
  }
  ImageStore* operator->() { return &store; }
};

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string digest_of(const std::string& content) { return "sha256:" + sha256_hex(content); }

std::string config_of(const std::vector<std::string>& layers) {
  std::string ids;
  for (const auto& l : layers) ids += (ids.empty() ? "\"" : ",\"") + digest_of(l) + "\"";
  return R"({"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/app"],"Cmd":["run"],)"
         R"("Env":["A=1"],"WorkingDir":"/w","User":"7:8","StopSignal":"SIGINT","ExposedPorts":{"80/tcp":{}}},)"
         R"("rootfs":{"type":"layers","diff_ids":[)" +
         ids + "]}}";
}

std::string docker_archive(const std::vector<std::string>& layers, const std::string& tag) {
  const std::string config = config_of(layers);
  std::vector<Entry> entries;
  std::string names;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string name = fmt::format("l{}/layer.tar", i);
    entries.push_back({name, 'f', layers[i]});
    names += (names.empty() ? "\"" : ",\"") + name + "\"";
  }
  entries.push_back({"conf.json", 'f', config});
  entries.push_back(
      {"manifest.json", 'f',
       fmt::format(R"([{{"Config":"conf.json","RepoTags":["{}"],"Layers":[{}]}}])", tag, names)});
  return tar_of(entries);
}

struct Parts {
  std::string layer = tar_of({{"hello", 'f', "world"}});
  std::string config = config_of({layer});
  std::string manifest = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}})",
      digest_of(config), config.size(), digest_of(layer), layer.size());
  std::string index = fmt::format(
      R"({{"schemaVersion":2,"manifests":[{{"digest":"{0}","size":1,"platform":{{"os":"linux","architecture":"s390x"}}}},{{"digest":"{1}","size":{2},"platform":{{"os":"linux","architecture":"amd64"}}}}]}})",
      digest_of("nothing"), digest_of(manifest), manifest.size());
};

// Just enough of a registry, with the troubles real ones have.
class FakeRegistry final : public http::Handler {
 public:
  explicit FakeRegistry(World& world) : world_(world), server_(world.env, *this, options()) {
    REQUIRE(server_.listen().has_value());
  }
  ~FakeRegistry() override { world_.run(server_.stop(0s)); }
  std::string host() const { return fmt::format("localhost:{}", server_.port()); }

  Task<void> handle(http::Request request, http::Exchange& exchange) override {
    ++requests[request.path];
    exchange.respond(answer(request));
    co_return;
  }

  Parts parts;
  std::string credentials;  // Basic "user:pass" the token server wants; "" for none
  bool tokens = false;
  bool damaged = false;  // the layer's bytes are not what the digest says
  bool redirects = false;
  int broken_blobs = 0;  // so many first answers for the layer are 503
  std::map<std::string, int> requests;
  std::vector<std::string> ranges;

 private:
  static http::ServerOptions options() {
    http::ServerOptions o;
    o.address = "127.0.0.1";
    return o;
  }
  static http::Response refuse(int status, std::string body) {
    return http::Response::text(status, std::move(body));
  }
  http::Response answer(const http::Request& request) {
    const auto& path = request.path;
    if (path == "/token") return token(request);
    if (path == "/v2/") return refuse(200, "{}");
    if (path == "/storage/layer") {
      CHECK(request.headers.get("Authorization").empty() == !tokens);
      return refuse(200, parts.layer);
    }
    if (tokens && request.headers.get("Authorization") != "Bearer good") {
      auto r = refuse(
          401, R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})");
      r.headers.add(
          "WWW-Authenticate",
          fmt::format(
              R"(Bearer realm="http://{}/token",service="fake",scope="repository:team/app:pull")",
              host()));
      return r;
    }
    if (path == "/v2/team/app/manifests/1") return refuse(200, parts.index);
    if (path == "/v2/team/app/manifests/" + digest_of(parts.index)) return refuse(200, parts.index);
    if (path == "/v2/team/app/manifests/" + digest_of(parts.manifest))
      return refuse(200, parts.manifest);
    if (path == "/v2/team/app/blobs/" + digest_of(parts.config)) return refuse(200, parts.config);
    if (path == "/v2/team/app/blobs/" + digest_of(parts.layer)) return blob(request);
    return refuse(404, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})");
  }
  http::Response token(const http::Request& request) {
    if (!credentials.empty() && request.headers.get("Authorization") != credentials)
      return refuse(401, "");
    CHECK(request.query.get("scope") == "repository:team/app:pull");
    CHECK(request.query.get("service") == "fake");
    return refuse(200, R"({"token":"good"})");
  }
  http::Response blob(const http::Request& request) {
    ranges.emplace_back(request.headers.get("Range"));
    if (broken_blobs > 0) {
      --broken_blobs;
      return refuse(503, "later");
    }
    if (redirects) {
      auto r = refuse(307, "");
      r.headers.add("Location", "/storage/layer");
      return r;
    }
    std::string bytes = parts.layer;
    if (damaged) bytes[600] = '!';
    if (const auto range = request.headers.get("Range"); range.starts_with("bytes=")) {
      const auto from = std::stoul(std::string(range.substr(6)));
      auto r = refuse(206, bytes.substr(from));
      r.headers.add("Content-Range",
                    fmt::format("bytes {}-{}/{}", from, bytes.size() - 1, bytes.size()));
      return r;
    }
    return refuse(200, bytes);
  }

  World& world_;
  http::Server server_;
};

}  // namespace

TEST_CASE("images from docker archives") {
  World world;
  const Scratch dir;
  const std::string base = tar_of({{"etc/name", 'f', "base"}}), top = tar_of({{"app", 'f', "1"}});
  write_file(dir.path / "a.tar", docker_archive({base, top}, "web:1"));
  write_file(dir.path / "b.tar", docker_archive({base}, "localhost:5000/base:2"));
  {
    Store store(world, dir.path / "images");
    const auto imported = world.run(store->import_archive((dir.path / "a.tar").string()));
    REQUIRE(imported.has_value());
    REQUIRE(imported->size() == 1);
    REQUIRE(
        world.run(store->import_archive((dir.path / "b.tar").string(), "renamed:3")).has_value());
  }
  // A new process finds them.
  Store store(world, dir.path / "images");
  const auto image = world.run(store->resolve("web:1"));
  REQUIRE(image.has_value());
  CHECK(image->config.entrypoint == std::vector<std::string>{"/bin/app"});
  CHECK(image->config.cmd == std::vector<std::string>{"run"});
  CHECK(image->config.working_dir == "/w");
  CHECK(image->config.user == "7:8");
  CHECK(image->config.stop_signal == "SIGINT");
  CHECK(image->config.exposed_ports == std::vector<std::string>{"80/tcp"});
  CHECK(image->id == digest_of(config_of({base, top})));
  CHECK(image->size == 5);
  REQUIRE(image->layers.size() == 2);
  CHECK(fs::exists(image->layers[0] + "/etc/name"));
  CHECK(fs::exists(image->layers[1] + "/app"));
  CHECK(world.run(store->resolve("web:2")).error().code == Code::not_found);
  CHECK(world.run(store->resolve("localhost:5000/base:2")).error().code == Code::not_found);
  REQUIRE(world.run(store->resolve("renamed:3")).has_value());
  CHECK(world.run(store->list())->size() == 2);

  // The shared layer stays until its last image goes.
  REQUIRE(world.run(store->tag("web:1", "web:again")).has_value());
  REQUIRE(world.run(store->remove("web:1")).has_value());
  CHECK(world.run(store->resolve("web:again")).has_value());
  REQUIRE(world.run(store->remove("web:again")).has_value());
  CHECK(fs::exists(image->layers[0]));
  CHECK_FALSE(fs::exists(image->layers[1]));
  store->set_in_use([](const std::string&) { return true; });
  CHECK(world.run(store->remove("renamed:3")).error().code == Code::conflict);
  store->set_in_use({});
  REQUIRE(world.run(store->remove("renamed:3")).has_value());
  CHECK_FALSE(fs::exists(image->layers[0]));
  CHECK(store->used_bytes() == 0);
}

TEST_CASE("images from OCI layouts, packed, through a pipe") {
  World world;
  const Scratch dir;
  const Parts parts;
  const std::string index = fmt::format(
      R"({{"schemaVersion":2,"manifests":[{{"digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"latest","io.containerd.image.name":"hub.test/team/app:1"}}}}]}})",
      digest_of(parts.manifest), parts.manifest.size());
  const std::string archive =
      tar_of({{"oci-layout", 'f', "{\"imageLayoutVersion\":\"1.0.0\"}"},
              {"blobs/sha256/" + sha256_hex(parts.layer), 'f', parts.layer},
              {"blobs/sha256/" + sha256_hex(parts.config), 'f', parts.config},
              {"blobs/sha256/" + sha256_hex(parts.manifest), 'f', parts.manifest},
              {"index.json", 'f', index}},
             true);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::thread writer([&] {
    CHECK(::write(ends[1], archive.data(), archive.size()) == static_cast<ssize_t>(archive.size()));
    ::close(ends[1]);
  });
  Store store(world, dir.path);
  const auto images = world.run(store->import_archive(ends[0]));
  writer.join();
  ::close(ends[0]);
  REQUIRE(images.has_value());
  CHECK(images->front().tags == std::vector<std::string>{"hub.test/team/app:1"});
  CHECK(fs::exists(images->front().layers[0] + "/hello"));
}

TEST_CASE("archives that are no images") {
  World world;
  const Scratch dir;
  Store store(world, dir.path / "images");
  const std::string layer = tar_of({{"a", 'f', "x"}}), other = tar_of({{"b", 'f', "y"}});
  struct Case {
    const char* what;
    std::string bytes;
  };
  for (const auto& c : {
           Case{"nothing", ""},
           Case{"text", "this is not an archive"},
           Case{"other tar", tar_of({{"a", 'f', "x"}})},
           Case{"no such config", tar_of({{"manifest.json", 'f', R"([{"Config":"x.json"}])"}})},
           Case{"no such layer",
                tar_of({{"c.json", 'f', config_of({layer})},
                        {"manifest.json", 'f', R"([{"Config":"c.json","Layers":["l.tar"]}])"}})},
           Case{"another layer",
                tar_of({{"c.json", 'f', config_of({layer})},
                        {"l.tar", 'f', other},
                        {"manifest.json", 'f', R"([{"Config":"c.json","Layers":["l.tar"]}])"}})},
           Case{"cut short", docker_archive({layer}, "x:1").substr(0, 2000)},
       }) {
    CAPTURE(c.what);
    write_file(dir.path / "x.tar", c.bytes);
    const auto result = world.run(store->import_archive((dir.path / "x.tar").string()));
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Code::invalid);
    CHECK(world.run(store->list())->empty());
    CHECK(fs::is_empty(dir.path / "images/ingest"));
  }
  CHECK(world.run(store->import_archive("/does/not/exist")).error().code == Code::not_found);
}

TEST_CASE("what a crash left is swept") {
  World world;
  const Scratch dir;
  { const Store store(world, dir.path); }
  fs::create_directories(dir.path / "layers/stray/deep");
  fs::create_directories(dir.path / "ingest/unpack-1-1");
  write_file(dir.path / "ingest/abc.part", "half");
  { const Store store(world, dir.path); }  // stop() waits for the sweep
  CHECK_FALSE(fs::exists(dir.path / "layers/stray"));
  CHECK_FALSE(fs::exists(dir.path / "ingest/unpack-1-1"));
  CHECK(fs::exists(dir.path / "ingest/abc.part"));  // the pull will come again
}

TEST_CASE("the built-in image is one file, made when asked for") {
  World world;
  const Scratch dir;
  write_file(dir.path / "program", "binary");
  ::chmod((dir.path / "program").c_str(), 0755);
  Store store(world, dir.path / "images");
  ImageConfig config;
  config.entrypoint = {"/skiff", "demo"};
  store->register_builtin("skiff/demo", (dir.path / "program").string(), config);
  CHECK(fs::is_empty(dir.path / "images/builtin"));
  const auto image = world.run(store->resolve("skiff/demo:latest"));
  REQUIRE(image.has_value());
  CHECK(image->pinned);
  CHECK(image->config.entrypoint.size() == 2);
  REQUIRE(image->layers.size() == 1);
  struct stat linked {
  }, original{};
  REQUIRE(::stat((image->layers[0] + "/skiff").c_str(), &linked) == 0);
  ::stat((dir.path / "program").c_str(), &original);
  CHECK(linked.st_ino == original.st_ino);
  CHECK(world.run(store->resolve("skiff/demo"))->id == image->id);
  CHECK(world.run(store->resolve(image->id)).has_value());
  CHECK(world.run(store->pull("skiff/demo")).has_value());  // imagePullPolicy Always
  CHECK(world.run(store->remove("skiff/demo")).error().code == Code::conflict);
  CHECK(world.run(store->list())->size() == 1);
}

TEST_CASE("pulling") {
  World world;
  FakeRegistry registry(world);
  const Scratch dir;
  Store store(world, dir.path);
  const std::string ref = registry.host() + "/team/app:1";

  SECTION("by tag, through an index") {
    const auto image = world.run(store->pull(ref));
    REQUIRE(image.has_value());
    CHECK(image->tags == std::vector<std::string>{ref});
    CHECK(image->digests == std::vector<std::string>{registry.host() + "/team/app@" +
                                                     digest_of(registry.parts.index)});
    CHECK(fs::exists(image->layers[0] + "/hello"));
    CHECK(fs::is_empty(dir.path / "ingest"));
    CHECK(world.run(store->resolve(image->digests[0]))->id == image->id);
    // What is here is not fetched again.
    REQUIRE(world.run(store->pull(ref)).has_value());
    CHECK(registry.ranges.size() == 1);
  }
  SECTION("by digest") {
    const std::string by = registry.host() + "/team/app@" + digest_of(registry.parts.manifest);
    const auto image = world.run(store->pull(by));
    REQUIRE(image.has_value());
    CHECK(image->tags.empty());
    CHECK(world.run(store->resolve(by)).has_value());
  }
  SECTION("by the default registry") {
    Store other(world, dir.path / "other", registry.host());
    REQUIRE(world.run(other->pull("team/app:1")).has_value());
    CHECK(world.run(other->resolve("team/app:1")).has_value());
  }
  SECTION("the same at once is one pull") {
    auto both = [](ImageStore& s, std::string name, Executor ex) -> Task<int> {
      TaskGroup group(ex);
      int good = 0;
      auto one = [](ImageStore& s2, std::string n, int& g) -> Task<void> {
        auto image = co_await s2.pull(std::move(n));
        g += image.has_value() ? 1 : 0;
      };
      for (int i = 0; i < 5; ++i) group.spawn("pull", one(s, name, good));
      co_await group.join();
      co_return good;
    };
    CHECK(world.run(both(store.store, ref, world.io.get_executor())) == 5);
    CHECK(registry.ranges.size() == 1);
  }
  SECTION("a broken download is tried again, from where it was") {
    registry.broken_blobs = 1;
    const auto& layer = registry.parts.layer;
    write_file(dir.path / "ingest" / (sha256_hex(layer) + ".part"), layer.substr(0, 700));
    REQUIRE(world.run(store->pull(ref)).has_value());
    CHECK(registry.ranges == std::vector<std::string>{"bytes=700-", "bytes=700-"});
  }
  SECTION("a damaged layer is refused and leaves nothing") {
    registry.damaged = true;
    const auto image = world.run(store->pull(ref));
    REQUIRE_FALSE(image.has_value());
    CHECK(image.error().message.find("is damaged") != std::string::npos);
    CHECK(fs::is_empty(dir.path / "ingest"));
    CHECK(fs::is_empty(dir.path / "layers"));
    registry.damaged = false;
    CHECK(world.run(store->pull(ref)).has_value());
  }
  SECTION("redirects are followed") {
    registry.redirects = true;
    CHECK(world.run(store->pull(ref)).has_value());
  }
  SECTION("tokens, with the pull secret's credentials") {
    registry.tokens = true;
    registry.credentials = "Basic dXNlcjpwYXNz";
    const auto refused = world.run(store->pull(ref));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == Code::unauthorized);
    CHECK(refused.error().message.find("401 Unauthorized") != std::string::npos);
    Keyring wrong_then_right;
    wrong_then_right.add(registry.host() + "/team", {"user", "wrong", ""});
    CHECK(world.run(store->pull(ref, wrong_then_right)).error().code == Code::unauthorized);
    Keyring right;
    right.add(registry.host(), {"user", "pass", ""});
    CHECK(world.run(store->pull(ref, right)).has_value());
  }
  SECTION("anonymous tokens") {
    registry.tokens = true;
    CHECK(world.run(store->pull(ref)).has_value());
  }
}

TEST_CASE("pulls that fail say why, in upstream's words") {
  World world;
  FakeRegistry registry(world);
  const Scratch dir;
  Store store(world, dir.path);
  struct Case {
    std::string ref;
    Code code;
    std::string words;
  };
  for (const auto& c : {
           Case{registry.host() + "/team/app:2", Code::not_found,
                registry.host() + "/team/app:2: not found"},
           Case{registry.host() + "/none:1", Code::not_found, "failed to resolve reference"},
           Case{"localhost:1/x:1", Code::unavailable, "connection refused"},
           Case{"UPPER", Code::invalid, "must be lowercase"},
           Case{"busybox", Code::not_found, "not present locally"},
       }) {
    CAPTURE(c.ref);
    const auto image = world.run(store->pull(c.ref));
    REQUIRE_FALSE(image.has_value());
    CHECK(image.error().code == c.code);
    CAPTURE(image.error().message);
    CHECK(image.error().message.find(c.words) != std::string::npos);
  }
  CHECK(world.run(store->list())->empty());
}
