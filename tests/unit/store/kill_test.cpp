// Killed (-9) at any moment, the store loses nothing it has acknowledged.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "fixture.hpp"
#include "skiff/base/random.hpp"

namespace skiff::store::testing {
namespace {

constexpr int kWriters = 8;
constexpr int kKeys = 40;  // of each writer

struct Ack {
  std::int32_t writer;
  std::int32_t count;
  Revision revision;
};

std::string key_of(int writer, int count) {
  return "/w" + std::to_string(writer) + "/" + std::to_string(count % kKeys);
}

// Values of very different sizes, to be caught with a half-written page.
std::string value_of(int writer, int count) {
  return std::to_string(count) + ":" +
         std::string(static_cast<std::size_t>(count * 7919 % 9000), 'a') + std::to_string(writer);
}

void report(int pipe, Ack ack) {
  if (::write(pipe, &ack, sizeof ack) != sizeof ack) std::_Exit(4);
}

Task<void> write_on(Store* store, int writer, int count, int pipe) {
  for (;; ++count) {
    auto batch = ops(put(key_of(writer, count), value_of(writer, count)));
    const auto verdicts = co_await store->commit(std::move(batch));
    if (!verdicts[0]) std::_Exit(3);
    report(pipe, {writer, count, (*verdicts[0])->modified});
  }
}

[[noreturn]] void child(const std::string& path, int from, int pipe) {
  Loop loop;
  loop.threads = true;
  StoreOptions options;
  options.history_bytes = 2U << 20U;  // so that trimming and retention run too
  SqliteOptions on_disk{.path = path};
  on_disk.history_bytes = 2U << 20U;
  auto log = open_sqlite_log(loop.env(), on_disk);
  if (!log) std::_Exit(1);
  auto store = loop.run(Store::open(loop.env(), std::move(*log), options));
  if (!store) std::_Exit(2);
  for (int w = 0; w < kWriters; ++w) loop.spawn(write_on(store->get(), w, from, pipe));
  loop.settle();
  std::_Exit(5);
}

// Starts a child, kills it after `acks` acknowledgements and adds all it sent to `newest`.
void run_and_kill(const std::string& path, int from, int acks, std::map<int, Ack>& newest) {
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::close(pipe[0]);
    child(path, from, pipe[1]);
  }
  ::close(pipe[1]);
  Ack ack{};
  for (int n = 0; ::read(pipe[0], &ack, sizeof ack) == sizeof ack; ++n) {
    newest[ack.writer] = ack;
    if (n == acks) ::kill(pid, SIGKILL);
  }
  ::close(pipe[0]);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFSIGNALED(status));
}

// Every writer's last acknowledged counts are there, whole; returns the highest count found.
int check(const std::string& path, const std::map<int, Ack>& newest) {
  Loop loop;
  loop.threads = true;
  auto log = open_sqlite_log(loop.env(), {.path = path});
  REQUIRE(log.has_value());
  auto store = std::move(*loop.run(Store::open(loop.env(), std::move(*log), StoreOptions{})));
  int highest = 0;
  for (const auto& [writer, ack] : newest) {
    CHECK(store->revision() >= ack.revision);
    for (int count = std::max(0, ack.count - kKeys + 1); count <= ack.count; ++count) {
      const auto item = store->get(key_of(writer, count));
      REQUIRE(item.has_value());
      const int found = std::atoi((*item)->value.c_str());
      CHECK(found >= count);
      CHECK((*item)->value == value_of(writer, found));
      highest = std::max(highest, found);
    }
  }
  CHECK(loop.run(store->close()).has_value());
  return highest;
}

}  // namespace

TEST_CASE("kill -9 loses nothing that was acknowledged") {
  std::string directory = (std::filesystem::temp_directory_path() / "skiff-kill-XXXXXX").string();
  REQUIRE(::mkdtemp(directory.data()) != nullptr);
  const std::string path = directory + "/db";
  SystemRandom random;
  std::map<int, Ack> newest;
  int from = 0;
  for (int round = 0; round < 12; ++round) {
    const int acks = static_cast<int>(random.below(round % 3 == 0 ? 3000 : 300));
    INFO("round " << round << ", killed after " << acks);
    run_and_kill(path, from, acks, newest);
    from = check(path, newest) + 1;
  }
  std::filesystem::remove_all(directory);
}

}  // namespace skiff::store::testing
