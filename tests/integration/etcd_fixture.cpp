#include "etcd_fixture.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace skiff::etcd::test {
namespace {

std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

}  // namespace

bool EtcdProcess::installed() { return ::access("/usr/bin/etcd", X_OK) == 0; }

EtcdProcess::EtcdProcess() {
  std::string name = (std::filesystem::temp_directory_path() / "skiff-etcd-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  directory_ = name;
  url_ = "http://127.0.0.1:" + std::to_string(free_port());
  peer_url_ = "http://127.0.0.1:" + std::to_string(free_port());
}

EtcdProcess::~EtcdProcess() {
  kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void EtcdProcess::start() {
  std::vector<std::string> words = {"etcd",
                                    "--data-dir",
                                    directory_ + "/data",
                                    "--listen-client-urls",
                                    url_,
                                    "--advertise-client-urls",
                                    url_,
                                    "--listen-peer-urls",
                                    peer_url_,
                                    "--initial-advertise-peer-urls",
                                    peer_url_,
                                    "--initial-cluster",
                                    "default=" + peer_url_};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  const std::string log = directory_ + "/log";
  ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  REQUIRE(::posix_spawn(&pid, "/usr/bin/etcd", &actions, nullptr, argv.data(), environ) == 0);
  ::posix_spawn_file_actions_destroy(&actions);
  pid_ = pid;
}

void EtcdProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

Lab::Lab() {
  if (!EtcdProcess::installed()) SKIP("etcd-server is not installed");
  etcd.start();
}

Server& Lab::add(EtcdOptions options) {
  servers_.push_back(std::make_unique<Server>(loop, std::move(options)));
  return *servers_.back();
}

Task<void> Lab::begin(Server& server) {
  for (int i = 0; i < 200; ++i) {
    const auto begun = co_await server.begin();
    if (begun) co_return;
    INFO(begun.error().message);
    REQUIRE(i < 199);
    co_await loop.clock.sleep_for(100ms);
  }
}

Task<void> Lab::all(std::function<Task<void>()> body) {
  co_await body();
  for (const auto& server : servers_) {
    const auto closed = co_await server->log->close();
    CHECK(closed.has_value());
  }
}

void Lab::run(std::function<Task<void>()> body) { loop.run(all(std::move(body))); }

}  // namespace skiff::etcd::test
