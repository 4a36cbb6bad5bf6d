// Carries out a launch plan (steps.hpp) in the process it is for: a container's first process
// before it executes its program, or the shim itself at its start.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "../steps.hpp"
#include "skiff/linux/system.hpp"

namespace skiff::runtime::shim {

class StepRunner {
 public:
  explicit StepRunner(sys::System& system) : system_(system) { slots_.fill(-1); }

  // Where a terminal's master goes and where `about to execute` is announced; -1: nowhere.
  void set_report(int fd) { report_ = fd; }
  // Whose namespaces join_root means: a pidfd, since its number may mean another process here.
  void set_root(int pidfd) { root_ = pidfd; }

  // Carries out every step. True when all succeeded; an exec step does not return when it does.
  // After false, error() says what failed, in a sentence.
  bool run(std::string_view plan);
  const std::string& error() const noexcept { return error_; }

  // The one-byte message that says the next thing is execve(2).
  static constexpr char about_to_exec = 'E';
  static constexpr char terminal_message = 'T';

 private:
  // 0 or a negative errno. They set error_ themselves where the errno alone does not tell.
  int apply(Step step, StepFields& f);
  int apply_mount(Step step, StepFields& f);
  int apply_identity(Step step, StepFields& f);
  int join_cgroup(StepFields& f);
  int join_namespace(const char* path, int type);
  int join_root(std::uint64_t flags);
  int open_bind(StepFields& f);
  int root_layers(StepFields& f);
  int root_directory(const char* path);
  int pivot(const char* path);
  int mount_at(StepFields& f);
  int place_bind(StepFields& f);
  int make_node(StepFields& f);
  int make_symlink(StepFields& f);
  int mask(const char* path);
  int read_only_path(const char* path);
  int write_value(StepFields& f);
  int pin(StepFields& f);
  int terminal(uid_t uid, bool console);
  int credentials(StepFields& f);
  int capabilities(StepFields& f);
  int seccomp(StepFields& f);
  int working_directory(const char* path);
  int execute(StepFields& f);
  int find_program(const std::string& name, const char* search_path, std::string& out);

  // An O_PATH descriptor of `path` inside the current root, made when missing (a directory, or an
  // empty file). Symbolic links are followed inside the root, dangling ones too.
  int ensure(const std::string& path, bool directory, int depth = 0);
  int resolve(const char* path);

  sys::System& system_;
  std::array<int, 1024> slots_;
  int report_ = -1;
  int root_ = -1;
  const char* late_directory_ = nullptr;  // the user may enter it, root may not
  std::string error_;
};

}  // namespace skiff::runtime::shim
