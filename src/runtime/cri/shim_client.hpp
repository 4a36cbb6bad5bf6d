// skiff's end of a shim's socket. Belongs to the loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/local/stream_protocol.hpp>

#include "../protocol.hpp"
#include "skiff/base/task.hpp"

namespace skiff::runtime {

// A descriptor that closes itself.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) noexcept : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

class ShimClient : public std::enable_shared_from_this<ShimClient> {
 public:
  // An answer keeps the bytes its message looks into.
  struct Answer {
    std::string bytes;
    protocol::Message message;
    std::vector<OwnedFd> descriptors;
    std::vector<std::shared_ptr<Answer>> entries;  // of list
  };
  using AnswerPtr = std::shared_ptr<Answer>;

  explicit ShimClient(Executor executor);
  ~ShimClient();

  // Connects to DIRECTORY/shim.sock: not_found or unavailable when nobody listens.
  Result<void> connect(const std::string& directory);

  // Reads until the shim is gone or close() is called. `on_exit` gets every `exited` event of a
  // container. To be spawned once, by whoever joins it.
  static Task<void> run(std::shared_ptr<ShimClient> self,
                        std::function<void(const protocol::Message&)> on_exit,
                        std::function<void()> on_lost);

  std::uint64_t next_request() noexcept { return ++requests_; }
  // Sends a request (a finished frame numbered `request`) and waits for its answer. A `failed`
  // answer is an internal error with the shim's words; a lost connection is unavailable.
  Task<Result<AnswerPtr>> call(std::uint64_t request, std::string frame,
                               std::vector<OwnedFd> descriptors = {});
  // Sends without waiting; the answer is dropped.
  void post(std::string frame, std::vector<OwnedFd> descriptors = {});

  // Processes started by exec: their ends.
  struct ExecEnd {
    explicit ExecEnd(Executor executor) : changed(std::move(executor)) {}
    bool ended = false;
    bool lost = false;
    int exit_code = 0;
    Signal changed;
  };
  std::shared_ptr<ExecEnd> expect_exec(const std::string& id);
  void forget_exec(const std::string& id) { execs_.erase(id); }

  bool connected() const noexcept { return connected_; }
  void close();
  const Executor& executor() const noexcept { return executor_; }

 private:
  struct Pending {
    explicit Pending(Executor executor) : done(std::move(executor)) {}
    AnswerPtr answer;
    std::vector<AnswerPtr> entries;
    bool lost = false;
    Signal done;
  };
  struct Outgoing {
    std::string bytes;
    std::size_t sent = 0;
    std::vector<OwnedFd> descriptors;
  };
  bool receive(const std::function<void(const protocol::Message&)>& on_exit);
  void dispatch(std::string_view bytes, const protocol::Message& m,
                std::vector<OwnedFd> descriptors,
                const std::function<void(const protocol::Message&)>& on_exit);
  bool flush();  // false when the socket takes no more now
  static Task<void> write_rest(std::shared_ptr<ShimClient> self);
  void lose();

  Executor executor_;
  asio::local::stream_protocol::socket socket_;
  bool connected_ = false;
  std::uint64_t requests_ = 0;
  std::string input_;
  std::deque<OwnedFd> received_;
  std::deque<Outgoing> output_;
  std::size_t queued_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending_;
  std::map<std::string, std::shared_ptr<ExecEnd>> execs_;
  TaskGroup writer_;
};

}  // namespace skiff::runtime
