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

void Mirror::apply(const store::Record& record) {
  if (record.erase) {
    items.erase(record.item->key);
  } else {
    items[record.item->key] = record.item;
  }
}

void Mirror::deliver(store::Records records) {
  REQUIRE_FALSE(records->empty());
  for (const store::Record& record : *records) {
    REQUIRE(record.item->modified > revision);
    revision = record.item->modified;
    delivered.push_back(record);
    apply(record);
  }
  changed.notify_all();
}

void Mirror::replace(store::Recovered at, std::vector<store::Record> state) {
  items.clear();
  for (const store::Record& record : state) apply(record);
  revision = at.revision;
  ++replaced;
  changed.notify_all();
}

Task<std::vector<Result<store::Revision>>> Mirror::decide(std::vector<store::Op>) {
  REQUIRE(false);
  co_return std::vector<Result<store::Revision>>();
}

Task<void> Mirror::reach(store::Revision wanted) {
  while (revision < wanted) co_await changed.wait();
}

Server::Server(Loop& loop, EtcdOptions options) : mirror(loop.env.executor) {
  auto opened = open_etcd_log(loop.env, std::move(options));
  REQUIRE(opened.has_value());
  log = std::move(*opened);
  log->attach(mirror);
}

Task<Result<store::Recovered>> Server::begin() {
  std::function<void(store::Record)> each = [this](store::Record record) { mirror.apply(record); };
  auto out = co_await log->replay(std::move(each));
  if (out) mirror.revision = out->revision;
  co_return out;
}

Task<Result<store::Revision>> Server::write(store::Op op) {
  std::vector<store::Op> ops;
  ops.push_back(std::move(op));
  auto verdicts = co_await log->forward(std::move(ops));
  REQUIRE(verdicts.size() == 1);
  co_return verdicts[0];
}

store::Op put(std::string key, std::string value, std::optional<store::Revision> expect) {
  store::Op op;
  op.key = std::move(key);
  op.value = std::move(value);
  op.expect = expect;
  return op;
}

store::Op erase(std::string key, std::optional<store::Revision> expect) {
  store::Op op = put(std::move(key), "", expect);
  op.type = store::Op::Type::erase;
  return op;
}

EtcdOptions options_for(const EtcdProcess& etcd) {
  EtcdOptions options;
  options.endpoints = {etcd.url()};
  options.connect_timeout = 1s;
  options.request_timeout = 5s;
  options.health_interval = 1s;
  options.history = Duration{};
  options.lease = 2s;
  return options;
}

}  // namespace skiff::etcd::test
