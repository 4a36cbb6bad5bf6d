#include "skiff/pki/certificate.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "ok.hpp"

using namespace skiff;
using namespace skiff::pki;
namespace fs = std::filesystem;

namespace {

// A new directory, removed at the end.
struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "skiff-pki-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path); }
  std::string path;
};

mode_t mode_of(const std::string& path) {
  struct stat s {};
  REQUIRE(::stat(path.c_str(), &s) == 0);
  return s.st_mode & 0777;
}

LeafOptions server_leaf() {
  LeafOptions o;
  o.subject = {"kube-apiserver", {}};
  o.dns_names = {"localhost", "kubernetes.default.svc.cluster.local"};
  o.ip_addresses = {"127.0.0.1", "10.43.0.1", "::1"};
  o.server = true;
  return o;
}

}  // namespace

TEST_CASE("an authority issues certificates that say what was asked and lead to it") {
  VirtualClock clock;
  SeededRandom random(1);
  const auto authority = CertificateAuthority::create(clock, random, "skiff-ca");
  CHECK(authority.certificate().is_authority());
  const std::string ca = authority.certificate().to_pem();

  const auto pair = authority.issue(clock, random, server_leaf());
  REQUIRE(ok(pair));
  const auto leaf = Certificate::from_pem(pair->certificate_pem);
  REQUIRE(ok(leaf));
  CHECK_FALSE(leaf->is_authority());
  CHECK(leaf->subject().common_name == "kube-apiserver");
  CHECK(leaf->issuer_name() == "skiff-ca");
  CHECK(leaf->dns_names() == server_leaf().dns_names);
  CHECK(leaf->ip_addresses() == server_leaf().ip_addresses);
  CHECK(leaf->not_before() == clock.wall() - 1h);
  CHECK(leaf->not_after() == clock.wall() + 24h * 365);
  CHECK(leaf->fingerprint() == sha256_hex(leaf->der()));
  CHECK(leaf->public_key().id() == PrivateKey::from_pem(pair->key_pem)->public_key().id());

  const WallTime now = clock.wall();
  CHECK(ok(verify_chain(pair->certificate_pem, ca, now, Purpose::server)));
  CHECK_FALSE(ok(verify_chain(pair->certificate_pem, ca, now, Purpose::client)));
  CHECK_FALSE(ok(verify_chain(pair->certificate_pem, ca, now + 24h * 366)));
  CHECK_FALSE(ok(verify_chain(pair->certificate_pem, ca, now - 2h)));
  const auto stranger = CertificateAuthority::create(clock, random, "skiff-ca");
  CHECK_FALSE(ok(verify_chain(pair->certificate_pem, stranger.certificate().to_pem(), now)));
  CHECK_FALSE(ok(verify_chain("", ca, now)));
  CHECK_FALSE(ok(verify_chain(pair->certificate_pem, "", now)));
}

TEST_CASE("client certificates carry user and groups, however long the node's name") {
  VirtualClock clock;
  SeededRandom random(2);
  const auto authority = CertificateAuthority::create(clock, random, "skiff-ca");
  LeafOptions options;
  options.client = true;
  for (const Subject& subject :
       {Subject{"admin", {"system:masters"}}, Subject{"u", {"a", "b", "c"}},
        Subject{"system:node:" + std::string(253, 'n'), {"system:nodes"}}}) {
    options.subject = subject;
    const auto pair = authority.issue(clock, random, options);
    REQUIRE(ok(pair));
    CHECK(Certificate::from_pem(pair->certificate_pem)->subject() == subject);
    CHECK(ok(verify_chain(pair->certificate_pem, authority.certificate().to_pem(), clock.wall(),
                          Purpose::client)));
  }
  options.subject = {};
  CHECK_FALSE(ok(authority.issue(clock, random, options)));
  options.subject = {"x", {}};
  options.ip_addresses = {"not-an-address"};
  CHECK(authority.issue(clock, random, options).error().code == Code::bad_request);
}

TEST_CASE("renewal is due two thirds through, and nothing outlives the authority") {
  VirtualClock clock;
  SeededRandom random(3);
  const auto authority = CertificateAuthority::create(clock, random, "ca", 24h * 30);
  LeafOptions options = server_leaf();
  options.lifetime = 24h * 3650;
  const auto pair = authority.issue(clock, random, options);
  const auto leaf = Certificate::from_pem(pair->certificate_pem);
  CHECK(leaf->not_after() == authority.certificate().not_after());
  const auto life = leaf->not_after() - leaf->not_before();
  CHECK(leaf->renew_at() == leaf->not_before() + life / 3 * 2);
}

TEST_CASE("a clock at the epoch makes certificates that are good once it is set right") {
  VirtualClock epoch(WallTime{});
  SeededRandom random(4);
  const auto authority = CertificateAuthority::create(epoch, random, "ca");
  const auto pair = authority.issue(epoch, random, server_leaf());
  REQUIRE(ok(pair));
  const std::string ca = authority.certificate().to_pem();
  CHECK(ok(verify_chain(pair->certificate_pem, ca, epoch.wall())));
  const VirtualClock right;
  CHECK(ok(verify_chain(pair->certificate_pem, ca, right.wall())));
  // The other way round: made in time, then the machine boots at the epoch.
  const auto later = CertificateAuthority::create(right, random, "ca");
  const auto late = later.issue(right, random, server_leaf());
  const WallTime known = Certificate::from_pem(late->certificate_pem)->not_before();
  CHECK(ok(verify_chain(late->certificate_pem, later.certificate().to_pem(),
                        plausible_time(epoch.wall(), known))));
}

TEST_CASE("signing requests are read back, and signed") {
  VirtualClock clock;
  SeededRandom random(5);
  const PrivateKey key = PrivateKey::generate(random);
  const Subject subject{"system:node:n1", {"system:nodes"}};
  const std::string pem = make_signing_request(key, subject, {"n1"}, {"10.0.0.7"});
  const auto request = SigningRequest::from_pem(pem);
  REQUIRE(ok(request));
  CHECK(request->subject == subject);
  CHECK(request->dns_names == std::vector<std::string>{"n1"});
  CHECK(request->ip_addresses == std::vector<std::string>{"10.0.0.7"});
  const auto public_key = PublicKey::from_pem(request->public_key_pem);
  REQUIRE(ok(public_key));
  CHECK(public_key->id() == key.public_key().id());

  const auto authority = CertificateAuthority::create(clock, random, "ca");
  LeafOptions options;
  options.subject = request->subject;
  options.client = true;
  const auto certificate = authority.sign(clock, random, *public_key, options);
  REQUIRE(ok(certificate));
  CHECK(Certificate::from_pem(*certificate)->public_key().id() == key.public_key().id());

  std::string forged = pem;
  forged[pem.size() / 2] = forged[pem.size() / 2] == 'A' ? 'B' : 'A';
  CHECK_FALSE(ok(SigningRequest::from_pem(forged)));
  CHECK_FALSE(ok(SigningRequest::from_pem("")));
}

TEST_CASE("pairs are kept private and whole, and damage is told") {
  const TemporaryDirectory dir;
  VirtualClock clock;
  SeededRandom random(6);
  const std::string pki = dir.path + "/a/b";
  CHECK(load_key_pair(pki, "ca").error().code == Code::not_found);
  const auto made = CertificateAuthority::load_or_create(clock, random, pki, "ca", "skiff-ca");
  REQUIRE(ok(made));
  CHECK(mode_of(pki + "/ca.key") == 0600);
  CHECK(mode_of(pki + "/ca.crt") == 0644);
  CHECK(mode_of(pki) == 0700);
  CHECK_FALSE(fs::exists(pki + "/ca.key.new"));
  const auto again = CertificateAuthority::load_or_create(clock, random, pki, "ca", "skiff-ca");
  REQUIRE(ok(again));
  CHECK(again->certificate().fingerprint() == made->certificate().fingerprint());

  const auto leaf = made->issue(clock, random, server_leaf());
  REQUIRE(ok(save_key_pair(pki, "server", *leaf)));
  REQUIRE(ok(load_key_pair(pki, "server")));
  CHECK(CertificateAuthority::load(*leaf).error().code == Code::invalid);
  REQUIRE(ok(write_private_file(pki + "/server.key", made->key_pair().key_pem)));
  CHECK(load_key_pair(pki, "server").error().code == Code::conflict);
  REQUIRE(ok(write_private_file(pki + "/server.key", "rubbish")));
  CHECK(load_key_pair(pki, "server").error().message.find("server.key") != std::string::npos);
  fs::remove(pki + "/server.key");
  CHECK(load_key_pair(pki, "server").error().code == Code::conflict);
}

TEST_CASE("an authority that lost its certificate keeps its key and what it issued") {
  const TemporaryDirectory dir;
  VirtualClock clock;
  SeededRandom random(7);
  const auto made = CertificateAuthority::load_or_create(clock, random, dir.path, "ca", "skiff-ca");
  const auto leaf = made->issue(clock, random, server_leaf());
  fs::remove(dir.path + "/ca.crt");
  const auto again =
      CertificateAuthority::load_or_create(clock, random, dir.path, "ca", "skiff-ca");
  REQUIRE(ok(again));
  CHECK(ok(verify_chain(leaf->certificate_pem, again->certificate().to_pem(), clock.wall())));
  fs::remove(dir.path + "/ca.key");
  CHECK_FALSE(ok(CertificateAuthority::load_or_create(clock, random, dir.path, "ca", "skiff-ca")));
}
