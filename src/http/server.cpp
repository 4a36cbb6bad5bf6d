#include "skiff/http/server.hpp"

#include <malloc.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <cerrno>

#include "connection.hpp"
#include "sockets.hpp"

namespace skiff::http {
namespace {

constexpr Duration kSweepEvery = 100ms;  // deadlines are kept to within this
constexpr Duration kAcceptPause = 100ms;
constexpr int kAcceptsPerTurn = 64;   // then others have theirs
constexpr std::size_t kCrowd = 1000;  // connections whose leaving frees memory worth giving back

}  // namespace

const std::string& ServerCore::date_line() {
  const WallTime now = env.clock->wall();
  const std::int64_t second = now.time_since_epoch().count() / 1'000'000;
  if (second != date_second_) {
    date_second_ = second;
    date_line_ = "Date: " + http_date(now) + "\r\n";
  }
  return date_line_;
}

Response ServerCore::refusal(const Refusal& refusal) const {
  return options.format_refusal ? options.format_refusal(refusal)
                                : Response::text(refusal.status, refusal.message + "\n");
}

struct Server::Impl : ServerCore {
  using ServerCore::ServerCore;

  std::unique_ptr<asio::posix::stream_descriptor> acceptor;
  std::uint16_t port = 0;
  std::size_t crowd = 0;  // the most connections since memory was last given back

  Task<void> accept_all();
  // Takes what waits in the backlog; false when the process is out of descriptors.
  bool accept_some();
  Task<void> reap();
  void give_back();
  Task<void> sweep();
  Task<Result<void>> wait_for_earlier();
  Task<Result<void>> wait_until_empty();
  void register_metrics();
};

bool Server::Impl::accept_some() {
  for (int i = 0; i < kAcceptsPerTurn && connections.size() < options.limits.connections; ++i) {
    const int fd = accept_one(acceptor->native_handle());
    if (fd >= 0) {
      auto connection = std::make_unique<Connection>(*this, fd);
      Connection* added = connection.get();
      connections.emplace(added, std::move(connection));
      crowd = std::max(crowd, connections.size());
      added->begin();
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      log::warn("http", "cannot accept connections: raise the limit of open files",
                {{"server", options.name}, {"error", errno_error(errno, "accept")}});
      return false;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      break;
    }
  }
  return true;
}

Task<void> Server::Impl::accept_all() {
  while (!stopping) {
    while (connections.size() >= options.limits.connections) co_await slot_free.wait();
    boost::system::error_code ec;
    co_await acceptor->async_wait(asio::posix::descriptor_base::wait_read,
                                  asio::redirect_error(asio::use_awaitable, ec));
    if (ec || stopping) co_return;
    if (!accept_some()) co_await env.clock->sleep_for(kAcceptPause);
  }
}

Task<void> Server::Impl::reap() {
  // Joining makes this task deaf to cancellation: it looks for the end itself.
  while (!stopping || !connections.empty()) {
    if (ended.empty()) {
      co_await someone_ended.wait();
      continue;
    }
    Connection* connection = ended.back();
    ended.pop_back();
    co_await connection->join();
    connections.erase(connection);
    slot_free.notify_all();
    give_back();
  }
}

// malloc keeps what lies between other things until it is asked: after a crowd has left, that is
// most of what it had.
void Server::Impl::give_back() {
  if (crowd < kCrowd || connections.size() > crowd / 4) return;
  crowd = connections.size();
  ::malloc_trim(0);
}

Task<Result<void>> Server::Impl::wait_for_earlier() {
  co_await earlier_deadline.wait();
  co_return Result<void>{};
}

Task<void> Server::Impl::sweep() {
  for (;;) {
    while (next_deadline == TimePoint::max()) co_await earlier_deadline.wait();
    const Duration wait = next_deadline - env.clock->now();
    if (wait > Duration::zero()) {
      co_await with_timeout(*env.clock, wait, std::string(), wait_for_earlier());
    }
    const TimePoint now = env.clock->now();
    if (now < next_deadline) continue;
    TimePoint next = TimePoint::max();
    for (const auto& [connection, owner] : connections) {
      if (connection->deadline() <= now) {
        connection->expire();
      } else {
        next = std::min(next, connection->deadline());
      }
    }
    next_deadline = next == TimePoint::max() ? next : std::max(next, now + kSweepEvery);
  }
}

Task<Result<void>> Server::Impl::wait_until_empty() {
  while (!connections.empty()) co_await slot_free.wait();
  co_return Result<void>{};
}

void Server::Impl::register_metrics() {
  if (env.metrics == nullptr) return;
  open_connections = &env.metrics->gauge("skiff_http_connections", "Open connections.", {"server"},
                                         {options.name});
  requests = &env.metrics->counter("skiff_http_requests_total", "Requests handed to a handler.",
                                   {"server"}, {options.name});
  refusals = &env.metrics->counter("skiff_http_refusals_total",
                                   "Requests refused as malformed, too large or too slow.",
                                   {"server"}, {options.name});
}

Server::Server(Env env, Handler& handler, ServerOptions options)
    : impl_(std::make_unique<Impl>(std::move(env), handler, std::move(options))) {
  impl_->register_metrics();
}

Server::~Server() {
  SKIFF_ASSERT(impl_->tasks.size() == 0, "an HTTP server was destroyed before it was stopped");
}

Result<void> Server::listen() {
  ServerOptions& options = impl_->options;
  if (options.tls) SKIFF_CHECK(set_tls(*options.tls));
  SKIFF_TRY(const Listener listener, listen_on(options.address, options.port, options.port_flag));
  impl_->port = listener.port;
  impl_->acceptor =
      std::make_unique<asio::posix::stream_descriptor>(impl_->env.executor, listener.fd);
  impl_->tasks.spawn("http accept", impl_->accept_all());
  impl_->tasks.spawn("http deadlines", impl_->sweep());
  impl_->tasks.spawn("http reaper", impl_->reap());
  return {};
}

std::uint16_t Server::port() const noexcept { return impl_->port; }
std::size_t Server::connections() const noexcept { return impl_->connections.size(); }

Result<void> Server::set_tls(TlsServerOptions tls) {
  SKIFF_TRY(impl_->tls, TlsContext::for_server(tls));
  impl_->options.tls = std::move(tls);
  return {};
}

Task<void> Server::stop(Duration grace) {
  Impl& impl = *impl_;
  impl.stopping = true;
  impl.someone_ended.notify_all();
  if (impl.acceptor) {
    boost::system::error_code ignored;
    impl.acceptor->close(ignored);
  }
  for (const auto& [connection, owner] : impl.connections) connection->stop();
  if (!impl.connections.empty() && grace > Duration::zero()) {
    co_await with_timeout(*impl.env.clock, grace, std::string(), impl.wait_until_empty());
  }
  for (const auto& [connection, owner] : impl.connections) connection->cancel();
  co_await impl.wait_until_empty();
  impl.tasks.cancel();
  co_await impl.tasks.join();
}

}  // namespace skiff::http
