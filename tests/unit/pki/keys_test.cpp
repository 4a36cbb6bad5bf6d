#include "skiff/pki/keys.hpp"

#include <catch2/catch_test_macros.hpp>

#include "skiff/pki/certificate.hpp"

#include "ok.hpp"

using namespace skiff;
using namespace skiff::pki;

TEST_CASE("a seed always gives the same key, another seed another") {
  SeededRandom a(1);
  SeededRandom b(1);
  SeededRandom c(2);
  const std::string key = PrivateKey::generate(a).to_pem();
  CHECK(key == PrivateKey::generate(b).to_pem());
  CHECK(key != PrivateKey::generate(c).to_pem());
  CHECK(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

TEST_CASE("keys survive PEM, and what is no key is refused") {
  SeededRandom random(3);
  const PrivateKey key = PrivateKey::generate(random);
  const auto again = PrivateKey::from_pem(key.to_pem());
  REQUIRE(ok(again));
  CHECK(again->public_key().id() == key.public_key().id());
  const auto public_key = PublicKey::from_pem(key.public_key().to_pem());
  REQUIRE(ok(public_key));
  CHECK(public_key->id() == key.public_key().id());
  CHECK(base64url_decode(public_key->point().x)->size() == 32);

  const std::string damaged = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
  for (const std::string& text : {std::string(), std::string("garbage"), damaged}) {
    CHECK_FALSE(ok(PrivateKey::from_pem(text)));
    CHECK_FALSE(ok(PublicKey::from_pem(text)));
  }
}

TEST_CASE("digests and text forms") {
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  struct Row {
    std::string raw;
    std::string standard;
    std::string url;
  };
  // RFC 4648 section 10, and bytes in which the alphabets differ.
  const std::vector<Row> rows = {
      {"", "", ""},
      {"f", "Zg==", "Zg"},
      {"fo", "Zm8=", "Zm8"},
      {"foo", "Zm9v", "Zm9v"},
      {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
      {"\xfb\xff\xfe", "+//+", "-__-"},
  };
  for (const Row& row : rows) {
    CHECK(base64_encode(row.raw) == row.standard);
    CHECK(base64url_encode(row.raw) == row.url);
    CHECK(base64_decode(row.standard).value() == row.raw);
    CHECK(base64url_decode(row.url).value() == row.raw);
  }
  for (const char* bad : {"Zg=", "Z", "Zh==", "Z===", "Zg==Zg==", "Zm9v\n", "Zm 9"}) {
    CHECK_FALSE(ok(base64_decode(bad)));
  }
  for (const char* bad : {"Zg==", "Zh", "+//+", "Z"}) CHECK_FALSE(ok(base64url_decode(bad)));
}

TEST_CASE("tokens are compared whole") {
  CHECK(constant_time_equal("secret", "secret"));
  CHECK_FALSE(constant_time_equal("secret", "secreT"));
  CHECK_FALSE(constant_time_equal("secret", "secret "));
  SeededRandom random(4);
  CHECK(random_token(random).size() == 32);
}

TEST_CASE("a signed token verifies with its key only, and not when changed") {
  SeededRandom random(5);
  const PrivateKey key = PrivateKey::generate(random);
  const PrivateKey other = PrivateKey::generate(random);
  const std::string claims = R"({"iss":"https://kubernetes.default.svc","sub":"x"})";
  const std::string token = sign_token(key, claims);
  const std::vector<PublicKey> both = {other.public_key(), key.public_key()};

  const auto verified = verify_token(token, both);
  REQUIRE(ok(verified));
  CHECK(verified->claims_json == claims);
  CHECK(verified->key_id == key.public_key().id());
  CHECK(verified->header_json.find("\"alg\":\"ES256\"") != std::string::npos);

  const std::vector<PublicKey> wrong = {other.public_key()};
  CHECK(verify_token(token, wrong).error().code == Code::unauthorized);
  CHECK_FALSE(ok(verify_token(token, {})));

  for (std::size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    CHECK_FALSE(ok(verify_token(changed, both)));
  }
  const std::string none = base64url_encode(R"({"alg":"none"})") + "." + base64url_encode(claims);
  for (const std::string& bad : {std::string(), std::string("a.b"), std::string("a.b.c.d"),
                                 std::string(".."), none + ".", none + ".AAAA", token + "."}) {
    CHECK_FALSE(ok(verify_token(bad, both)));
  }
}
