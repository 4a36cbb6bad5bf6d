// The shim's process: one thread around epoll, written against plain system calls because every
// page it touches stays resident for as long as the pod lives.
#pragma once

#include <csignal>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "../protocol.hpp"
#include "log_file.hpp"
#include "log_splitter.hpp"

namespace skiff::runtime::shim {

std::int64_t wall_nanoseconds() noexcept;
std::int64_t monotonic_nanoseconds() noexcept;

// A descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void ready() = 0;
};

class Loop {
 public:
  Loop();
  void watch(int fd, Watcher& watcher, bool writable = false);
  void change(int fd, Watcher& watcher, bool writable);
  void forget(int fd);
  // Waits for one event, at most until `deadline` (monotonic nanoseconds; 0: for ever).
  void turn(std::int64_t deadline);
  // Much of the program was just used: its pages are given back as soon as nothing happens.
  void used_much() noexcept { bulky_ = true; }

 private:
  Fd epoll_;
  bool bulky_ = true;  // starting up was
};

class Shim;
struct Container;
struct Exec;

// One connection from skiff.
class Client final : public Watcher {
 public:
  Client(Shim& shim, Fd fd) : shim_(shim), fd_(std::move(fd)) {}
  void ready() override;
  // Queues a frame. A client that does not read is dropped: it will connect again and list.
  void send(std::string frame, std::vector<Fd> descriptors = {});
  void flush();
  void fail(std::uint64_t request, std::string_view message, int exit_code = 0);
  void ok(std::uint64_t request) { send(protocol::Frame(protocol::Type::ok, request).finish()); }
  bool dead() const noexcept { return dead_; }
  int fd() const noexcept { return fd_.get(); }

 private:
  struct Outgoing {
    std::string bytes;
    std::size_t sent = 0;
    std::vector<Fd> descriptors;
  };
  void receive();
  void handle_input();
  static constexpr std::size_t max_queued = 4U << 20U;

  Shim& shim_;
  Fd fd_;
  std::string input_;
  std::deque<Fd> received_;
  std::deque<Outgoing> output_;
  std::size_t queued_ = 0;
  bool dead_ = false;
  bool waiting_ = false;  // for the socket to take more
};

// What a process says about itself before it executes its program.
class Report final : public Watcher {
 public:
  Report(Shim& shim, Fd fd, Container* container, Exec* exec)
      : shim_(shim), fd_(std::move(fd)), container_(container), exec_(exec) {}
  void ready() override { drain(); }
  // Reads what there is. Ends in Shim::launched or Shim::launch_failed once the far end is closed.
  void drain();
  int fd() const noexcept { return fd_.get(); }

 private:
  void receive_terminal(Fd master);
  Shim& shim_;
  Fd fd_;
  Container* container_;
  Exec* exec_;
  bool about_to_exec_ = false;
  std::string failure_;
};

// One of a container's output streams.
class Output final : public Watcher {
 public:
  Output(Shim& shim, Container& container, Fd fd, std::string_view stream)
      : shim_(shim), container_(container), fd_(std::move(fd)), splitter_(stream) {}
  void ready() override { read_some(); }
  // Everything that is in the pipe now.
  void drain();
  bool read_some();  // false when there is nothing more (now, or ever)
  void close();
  bool open() const noexcept { return static_cast<bool>(fd_); }
  int fd() const noexcept { return fd_.get(); }
  std::vector<Fd> sinks;  // attached readers

 private:
  void deliver(std::string_view data);
  Shim& shim_;
  Container& container_;
  Fd fd_;
  LogSplitter splitter_;
};

struct Container {
  std::string id;
  std::string directory;
  std::string oom_file;
  std::uint64_t flags = 0;
  protocol::State state = protocol::State::starting;
  pid_t pid = 0;
  std::int64_t started_at = 0;
  std::int64_t finished_at = 0;
  int exit_code = 0;
  int signal = 0;
  bool oom = false;
  std::string message;
  std::int64_t kill_at = 0;  // monotonic; 0: not being stopped
  std::unique_ptr<LogFile> log;
  std::unique_ptr<Output> out, err;
  std::unique_ptr<Report> report;
  Fd input;     // the write end of its stdin
  Fd terminal;  // master
  Client* starter = nullptr;
  std::uint64_t start_request = 0;
};

struct Exec {
  std::string id;
  Container* container = nullptr;
  Client* client = nullptr;
  std::uint64_t request = 0;
  pid_t pid = 0;
  bool launched = false;
  std::unique_ptr<Report> report;
  Fd terminal;
};

// What fork needs to know.
struct Launch {
  std::uint64_t clone_flags = 0;
  std::string cgroup_directory;
  std::string pid_namespace;
  std::string_view steps;
  int root = -1;                // pidfd of the container that is entered
  int stdio[3] = {-1, -1, -1};  // -1: /dev/null
};

class Shim {
 public:
  Shim(Fd listener, Fd signals, pid_t pause, std::string directory) noexcept;
  // Until shut down.
  void run();

  Loop& loop() noexcept { return loop_; }
  void handle(Client& client, const protocol::Message& m, std::vector<Fd> descriptors);
  void accept();
  void reap();
  void launched(Container* container, Exec* exec);
  void launch_failed(Container* container, Exec* exec, const std::string& why);

 private:
  class Listener final : public Watcher {
   public:
    explicit Listener(Shim& shim) : shim_(shim) {}
    void ready() override { shim_.accept(); }
    Shim& shim_;
  };
  class Signals final : public Watcher {
   public:
    explicit Signals(Shim& shim) : shim_(shim) {}
    void ready() override { shim_.reap(); }
    Shim& shim_;
  };

  void start(Client& client, const protocol::Message& m);
  void exec(Client& client, const protocol::Message& m, std::vector<Fd> descriptors);
  void signal(Client& client, const protocol::Message& m);
  void stop(Client& client, const protocol::Message& m);
  void list(Client& client, const protocol::Message& m);
  void remove(Client& client, const protocol::Message& m);
  void reopen(Client& client, const protocol::Message& m);
  void attach(Client& client, const protocol::Message& m, std::vector<Fd> descriptors);
  void dial(Client& client, const protocol::Message& m);
  void shut_down(Client& client, const protocol::Message& m);

  // Forks and runs the steps in the child. The pid, or a negative errno.
  pid_t fork_process(const Launch& launch, Fd& report);
  [[noreturn]] void child(const Launch& launch, int report);
  void watch_streams(Container& c, Fd out, Fd err);
  void ended(Container& c, int status);
  void ended(Exec& e, int status);
  void finish(Container& c);
  void publish(const Container& c);
  bool write_record(const Container& c, const char* name, bool ended) const;
  void drop_clients();
  void check_deadlines();
  std::int64_t next_deadline() const;
  void kill_everything();
  bool finished_shutdown();
  Container* find(std::string_view id);
  Exec* find_exec(std::string_view id);

  Loop loop_;
  Fd listener_;
  Fd signals_;
  pid_t pause_;
  std::string directory_;
  Listener on_connect_;
  Signals on_signal_;
  std::list<Container> containers_;
  std::list<Exec> execs_;
  std::list<Client> clients_;
  std::int64_t abandoned_at_;  // nobody connected until then: skiff died while starting this shim
  bool shutting_down_ = false;
  Client* shutdown_client_ = nullptr;
  std::uint64_t shutdown_request_ = 0;
};

}  // namespace skiff::runtime::shim
