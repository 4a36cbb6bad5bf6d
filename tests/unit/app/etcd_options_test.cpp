// From flags and files to an etcd's settings.
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>

#include <filesystem>
#include <fstream>

#include "server_store.hpp"

using namespace skiff;
using namespace skiff::app;

TEST_CASE("an etcd's settings come from flags and the files they name") {
  const std::string dir =
      std::filesystem::temp_directory_path() / ("skiff-etcd-options-" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir);
  const auto file = [&](const char* name, const char* text) {
    std::ofstream(dir + "/" + name) << text;
    return dir + "/" + name;
  };
  ServerOptions options;
  options.datastore = "https://a:2379,https://b:2379";
  options.datastore_prefix = "/other";
  options.datastore_ca = file("ca", "CA\n");
  options.datastore_cert = file("cert", "CERT\n");
  options.datastore_key = file("key", "KEY\n");
  options.datastore_user = "skiff";
  options.datastore_password = file("password", " pass word\r\n");
  options.history_age = std::chrono::hours(1);
  const auto read = etcd_options(options, "cafe");
  REQUIRE(read.has_value());
  CHECK(read->endpoints == std::vector<std::string>{"https://a:2379", "https://b:2379"});
  CHECK(read->prefix == "/other");
  CHECK(read->cluster == "cafe");
  CHECK(read->tls.ca_pem == "CA\n");
  CHECK(read->tls.identity.certificate_pem == "CERT\n");
  CHECK(read->tls.identity.key_pem == "KEY\n");
  CHECK(read->user == "skiff");
  CHECK(read->password == " pass word");
  CHECK(read->history == std::chrono::hours(1));
  options.datastore_password = file("password", "\n");
  CHECK(etcd_options(options, "").error().message.find("--datastore-password-file") == 0);
  options.datastore_ca = dir + "/none";
  CHECK(etcd_options(options, "").error().message.find("--datastore-cafile") == 0);
  std::filesystem::remove_all(dir);
}
