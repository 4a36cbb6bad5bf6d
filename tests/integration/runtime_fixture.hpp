// A Runtime over a temporary directory, and an image made of busybox.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::test {

// Why containers cannot be run here; "" when they can.
std::string missing_privilege();

// Starts a sandbox and a container with a Runtime over `argv[1]`, prints their ids, and sleeps
// until it is killed.
int victim_main(int argc, char** argv);

class RuntimeFixture {
 public:
  RuntimeFixture();  // skips the test where containers cannot be run
  ~RuntimeFixture();
  RuntimeFixture(const RuntimeFixture&) = delete;
  RuntimeFixture& operator=(const RuntimeFixture&) = delete;

  // Lets go of the runtime and takes hold again, as a restarted skiff does.
  void restart();
  void open();
  void close();

  // Runs a coroutine to its end.
  template <class T>
  T run(Task<T> task);
  void run(Task<void> task);
  template <class T>
  T must(Task<Result<T>> task) {
    auto r = run(std::move(task));
    if (!r) FAIL(r.error().message);
    return std::move(*r);
  }
  void must(Task<Result<void>> task);
  // Until `condition` holds, at most 10 s.
  void wait_for(std::function<bool()> condition, const char* what);

  runtime::SandboxConfig sandbox_config(const std::string& name = "pod") const;
  runtime::ContainerConfig shell(const std::string& script) const;
  runtime::ContainerConfig command(std::vector<std::string> words) const;
  std::string sandbox();
  // Creates and starts; the id.
  std::string start(const std::string& sandbox_id, runtime::ContainerConfig config);
  runtime::ContainerStatus wait_exit(const std::string& id);
  std::string log(const std::string& container_id) const;     // as written
  std::string output(const std::string& container_id) const;  // contents only, joined
  // Runs a script to its end in a new container of `sandbox_id`; its output.
  std::string sh(const std::string& sandbox_id, const std::string& script);

  // What is left on the machine that only this fixture can have made.
  std::vector<std::string> leftovers() const;

  runtime::Runtime& runtime() { return *runtime_; }
  const std::string& dir() const { return dir_; }
  std::string state_dir() const { return dir_ + "/run"; }
  runtime::RootFs rootfs() const { return {{dir_ + "/image"}}; }
  runtime::RuntimeOptions options() const;
  Env env() { return env_; }

 private:
  void drive(const bool& done);

  std::string dir_;
  asio::io_context io_;
  RealClock clock_;
  SystemRandom random_;
  metrics::Registry metrics_;
  BlockingPool blocking_{2};
  Env env_{io_.get_executor(), &clock_, &random_, &metrics_, &blocking_};
  std::unique_ptr<runtime::Runtime> runtime_;
  int names_ = 0;
};

std::string read_file(const std::string& path);
bool exists(const std::string& path);
std::vector<int> processes_matching(const std::string& text);  // by command line

template <class T>
T RuntimeFixture::run(Task<T> task) {
  bool done = false;
  std::optional<T> result;
  auto wrapped = [](Task<T> t, std::optional<T>& out, bool& flag) -> Task<void> {
    out = co_await std::move(t);
    flag = true;
  };
  TaskGroup group(env_.executor);
  group.spawn("test", wrapped(std::move(task), result, done));
  drive(done);
  return std::move(*result);
}

}  // namespace skiff::test
