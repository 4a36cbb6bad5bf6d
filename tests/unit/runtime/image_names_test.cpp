#include <catch2/catch_test_macros.hpp>

#include "image_index.hpp"
#include "image_registry.hpp"
#include "skiff/runtime/images.hpp"

using namespace skiff;
using namespace skiff::runtime;

namespace {
const std::string kHex(64, 'a');
}

TEST_CASE("image references") {
  struct Case {
    std::string text, registry, repository, tag, digest;
  };
  for (const auto& c : {
           Case{"busybox", "", "busybox", "latest", ""},
           Case{"busybox:1.36", "", "busybox", "1.36", ""},
           Case{"skiff/demo", "", "skiff/demo", "latest", ""},
           Case{"localhost/web", "localhost", "web", "latest", ""},
           Case{"localhost:5000/a/b_c/d-e.f:v1.0", "localhost:5000", "a/b_c/d-e.f", "v1.0", ""},
           Case{"registry.test/x", "registry.test", "x", "latest", ""},
           Case{"[::1]:5000/x:y", "[::1]:5000", "x", "y", ""},
           Case{"Registry/x", "Registry", "x", "latest", ""},
           Case{"busybox@sha256:" + kHex, "", "busybox", "", "sha256:" + kHex},
           Case{"h.test/x:1@sha256:" + kHex, "h.test", "x", "1", "sha256:" + kHex},
           Case{"a__b/c--d", "", "a__b/c--d", "latest", ""},
       }) {
    CAPTURE(c.text);
    const auto ref = ImageReference::parse(c.text);
    REQUIRE(ref.has_value());
    CHECK(ref->registry == c.registry);
    CHECK(ref->repository == c.repository);
    CHECK(ref->tag == c.tag);
    CHECK(ref->digest == c.digest);
  }
}

TEST_CASE("what is no image reference") {
  for (const std::string text :
       {"", ":tag", "Busybox", "busybox:", "busybox:-x", "a//b", "a/", "/a", "a___b", "a..b", "-a",
        "a@sha256:123", "a@md5:00", "host.test:port/x", "a b", "a:tag:tag", "http://host.test/x",
        "x@", "_x"}) {
    CAPTURE(text);
    const auto ref = ImageReference::parse(text);
    REQUIRE_FALSE(ref.has_value());
    CHECK(ref.error().code == Code::invalid);
    CHECK(ref.error().message.starts_with("couldn't parse image reference \"" + text + "\""));
  }
  CHECK(ImageReference::parse("host.test/Upper").error().message.find("must be lowercase") !=
        std::string::npos);
  CHECK_FALSE(ImageReference::parse("a:" + std::string(129, 't')).has_value());
  CHECK_FALSE(ImageReference::parse(std::string(256, 'a')).has_value());
}

TEST_CASE("short names find imported images") {
  ImageIndex index;
  const auto add = [&](char id, const char* tag) {
    ImageRecord r;
    r.id = "sha256:" + std::string(64, id);
    r.tags = {tag};
    index.add(r);
  };
  add('1', "busybox:latest");
  add('2', "hub.test/library/nginx:1");
  add('3', "hub.test/team/app:1");
  add('4', "other.test/tool:1");
  struct Case {
    std::string text, registry;
    char id;  // 0: not found
  };
  for (const auto& c : {
           Case{"busybox", "", '1'},
           Case{"busybox:latest", "", '1'},
           Case{"busybox:1", "", 0},
           Case{"hub.test/library/busybox", "", '1'},
           Case{"nginx:1", "", '2'},
           Case{"team/app:1", "", 0},
           Case{"team/app:1", "hub.test", '3'},
           Case{"tool:1", "", 0},
           Case{"tool:1", "other.test", '4'},
           Case{"sha256:" + std::string(64, '3'), "", '3'},
           Case{"333333", "", '3'},
           Case{"33333", "", 0},
           Case{"not a name", "", 0},
       }) {
    CAPTURE(c.text, c.registry);
    const auto* found = index.find(c.text, c.registry);
    CHECK((found == nullptr ? 0 : found->id.back()) == c.id);
  }
}

TEST_CASE("the index survives being written and read") {
  ImageIndex index;
  ImageRecord r;
  r.id = "sha256:" + kHex;
  r.tags = {"a:1", "b:2"};
  r.digests = {"a@sha256:" + kHex};
  r.layers = {std::string(64, 'b'), std::string(64, 'c')};
  r.manifest = kHex;
  r.config.entrypoint = {"/bin/sh", "-c"};
  r.config.env = {"A=1"};
  r.config.labels["k"] = "v";
  r.config.user = "1000:1000";
  index.add(r);
  index.layers[std::string(64, 'b')] = 5;
  index.layers[std::string(64, 'c')] = 7;
  const auto again = ImageIndex::parse(index.encode());
  REQUIRE(again.has_value());
  const auto* found = again->find("b:2", "");
  REQUIRE(found != nullptr);
  CHECK(found->layers == r.layers);
  CHECK(found->config.entrypoint == r.config.entrypoint);
  CHECK(found->config.labels.at("k") == "v");
  CHECK(found->manifest == kHex);
  CHECK(again->layers.at(std::string(64, 'c')) == 7);
  CHECK_FALSE(ImageIndex::parse("{\"version\":2}").has_value());
  CHECK_FALSE(ImageIndex::parse("{").has_value());
}

TEST_CASE("a tag has one owner; layers go with their last image") {
  ImageIndex index;
  ImageRecord a, b;
  a.id = "sha256:" + std::string(64, 'a');
  a.tags = {"web:1"};
  a.layers = {"base", "a"};
  b.id = "sha256:" + std::string(64, 'b');
  b.tags = {"web:1"};
  b.layers = {"base", "b"};
  index.layers = {{"base", 1}, {"a", 1}, {"b", 1}};
  index.add(a);
  index.add(b);
  CHECK(index.images.at(a.id).tags.empty());
  CHECK(index.find("web:1", "")->id == b.id);
  CHECK(index.drop_unused_layers({}).empty());
  index.images.erase(a.id);
  CHECK(index.drop_unused_layers({"a"}).empty());  // somebody counts on it
  CHECK(index.drop_unused_layers({}) == std::vector<std::string>{"a"});
}

TEST_CASE("credentials by registry, the most specific first") {
  Keyring keyring;
  // "user:pass" and "team:secret" in base64.
  REQUIRE(keyring
              .add_docker_config_json(R"({"auths": {
      "https://hub.test/v2/": {"auth": "dXNlcjpwYXNz"},
      "hub.test/team": {"username": "team", "password": "secret"},
      "localhost:5000": {"identitytoken": "t"}}})")
              .has_value());
  const auto names = [&](const char* ref) {
    std::string out;
    for (const auto& a : keyring.find(*ImageReference::parse(ref))) out += a.username + " ";
    return out;
  };
  CHECK(names("hub.test/x") == "user ");
  CHECK(names("hub.test/team/app") == "team user ");
  CHECK(names("hub.test/teams/app") == "user ");
  CHECK(names("hub.test.evil/x").empty());
  CHECK(keyring.find(*ImageReference::parse("localhost:5000/x")).front().identity_token == "t");
  CHECK(keyring.fingerprint() != Keyring().fingerprint());

  Keyring bad;
  CHECK(bad.add_docker_config_json(R"({"auths": {"h": {"auth": "!!"}}})").error().code ==
        Code::invalid);
  CHECK(bad.add_docker_config_json("not json").error().code == Code::bad_request);
  CHECK(bad.add_docker_cfg("[]").error().code == Code::invalid);
}

TEST_CASE("challenges") {
  const auto c = parse_challenge(
      R"(Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push")");
  REQUIRE(c.has_value());
  CHECK(c->scheme == "bearer");
  CHECK(c->get("realm") == "https://auth.test/token");
  CHECK(c->get("scope") == "repository:a/b:pull,push");
  CHECK(parse_challenge("Basic realm=x")->get("realm") == "x");
  CHECK(parse_challenge("Basic")->scheme == "basic");
  CHECK_FALSE(parse_challenge("").has_value());
  CHECK(parse_challenge("Bearer realm=\"unclosed")->get("realm") == "unclosed");
}

TEST_CASE("registries on this machine") {
  for (const char* host :
       {"localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "a.localhost"}) {
    CAPTURE(host);
    CHECK(loopback_registry(host));
  }
  for (const char* host : {"registry.test", "localhost.test", "127.evil.test", "10.0.0.1:5000"}) {
    CAPTURE(host);
    CHECK_FALSE(loopback_registry(host));
  }
}

TEST_CASE("failures to connect in upstream's words") {
  const std::string url = "https://hub.test/v2/x/manifests/1";
  CHECK(worded({Code::unavailable, "hub.test: Connection refused"}, "Get", url)
            .message.ends_with("connect: connection refused"));
  CHECK(
      worded({Code::unavailable, "cannot find the address: Name or service not known"}, "Get", url)
          .message.ends_with("lookup hub.test: no such host"));
  CHECK(worded({Code::timeout, "it took too long"}, "Get", url)
            .message.ends_with("it took too long"));
}
