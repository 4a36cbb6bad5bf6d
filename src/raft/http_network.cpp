#include "skiff/raft/http_network.hpp"

#include <algorithm>
#include <deque>
#include <map>

#include "posts.hpp"
#include "skiff/base/log.hpp"

namespace skiff::raft {

// --- What a POST carries.

std::string encode_frames(const std::vector<std::string>& frames) {
  std::string out;
  std::size_t size = 1;
  for (const std::string& frame : frames) size += frame.size() + 4;
  out.reserve(size);
  out.push_back(kPostFrames);
  for (const std::string& frame : frames) {
    put_fixed32(out, static_cast<std::uint32_t>(frame.size()));
    out += frame;
  }
  return out;
}

std::string encode_piece(const Piece& piece) {
  std::string out;
  out.reserve(piece.bytes.size() + 17);
  out.push_back(kPostPiece);
  put_fixed64(out, piece.id);
  put_fixed32(out, piece.number);
  put_fixed32(out, piece.count);
  out += piece.bytes;
  return out;
}

Result<Post> decode_post(std::string_view body) {
  const Error bad{Code::bad_request, "the body holds no frames of skiff's"};
  Post out;
  if (body.empty()) return bad;
  WireReader in(body.substr(1));
  if (body.front() == kPostPiece) {
    Piece piece;
    piece.id = in.fixed(8);
    piece.number = static_cast<std::uint32_t>(in.fixed(4));
    piece.count = static_cast<std::uint32_t>(in.fixed(4));
    piece.bytes = in.rest();
    if (!in.ok() || piece.count < 2 || piece.number >= piece.count || piece.bytes.empty()) {
      return bad;
    }
    out.piece = piece;
    return out;
  }
  if (body.front() != kPostFrames) return bad;
  std::string_view rest = body.substr(1);
  while (!rest.empty()) {
    if (rest.size() < 4) return bad;
    const std::uint64_t size = get_fixed(rest.data(), 4);
    rest.remove_prefix(4);
    if (size == 0 || size > rest.size()) return bad;
    out.frames.push_back(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  if (out.frames.empty()) return bad;
  return out;
}

Result<std::optional<std::string>> Assembly::add(const std::string& from, const Piece& piece,
                                                 std::size_t max_bytes) {
  if (piece.number == 0) {
    if (partial_.size() >= 16) partial_.clear();
    partial_[from] = Partial{piece.id, 0, piece.count, {}};
  }
  const auto it = partial_.find(from);
  if (it == partial_.end()) return std::optional<std::string>();
  Partial& partial = it->second;
  // One was lost on the way: so is the frame.
  if (partial.id != piece.id || partial.count != piece.count || partial.next != piece.number) {
    partial_.erase(it);
    return std::optional<std::string>();
  }
  if (partial.bytes.size() + piece.bytes.size() > max_bytes) {
    partial_.erase(it);
    return Error{Code::too_large, "a frame is larger than any should be"};
  }
  partial.bytes += piece.bytes;
  if (++partial.next < partial.count) return std::optional<std::string>();
  std::string whole = std::move(partial.bytes);
  partial_.erase(it);
  return std::optional<std::string>(std::move(whole));
}

// --- The network.

namespace {

constexpr Duration kComplainEvery = std::chrono::seconds(10);
constexpr Duration kPause = std::chrono::milliseconds(100);  // after a failure

http::ClientOptions client_options(const HttpNetworkOptions& options) {
  http::ClientOptions out;
  out.tls = options.tls;
  // A server that is gone must not keep us from noticing that it is back.
  out.connect_timeout = std::min<Duration>(options.timeout, std::chrono::seconds(1));
  out.user_agent = "skiff-raft";
  return out;
}

class Impl final : public HttpNetwork, public http::Handler {
 public:
  Impl(Env env, HttpNetworkOptions options)
      : env_(env),
        options_(std::move(options)),
        client_(env, client_options(options_)),
        tasks_(env.executor) {}

  bool send(const Server& to, std::string frame) override {
    if (stopped_ || frame.size() > options_.max_frame_bytes) return false;
    auto& peer = peers_[to.id];
    if (!peer || peer->address != to.address) {
      peer = std::make_shared<Peer>();
      peer->address = to.address;
    }
    if (peer->bytes + frame.size() > options_.max_queue_bytes) return false;
    peer->bytes += frame.size();
    peer->queue.push_back(std::move(frame));
    if (!peer->sending) {
      peer->sending = true;
      tasks_.spawn("raft peer", send_all(peer));
    }
    return true;
  }
  void receive(Receiver receiver) override { receiver_ = std::move(receiver); }
  void set_peers(const Servers& peers) override {
    std::erase_if(peers_, [&](const auto& entry) {
      return !entry.second->sending &&
             std::none_of(peers.begin(), peers.end(),
                          [&](const Server& s) { return s.id == entry.first; });
    });
  }
  http::Handler& handler() override { return *this; }
  Result<void> set_tls(http::TlsClientOptions tls) override {
    return client_.set_tls(std::move(tls));
  }
  Task<void> stop() override {
    stopped_ = true;
    receiver_ = {};
    tasks_.cancel();
    co_await tasks_.join();
  }

  Task<void> handle(http::Request request, http::Exchange& exchange) override {
    const Error refused = take(request);
    if (refused.message.empty()) {
      http::Response done;
      done.status = 204;
      exchange.respond(std::move(done));
      co_return;
    }
    const std::string peer =
        request.connection ? request.connection->peer_address : std::string("somebody");
    complain(peer, "a request for raft was refused", refused);
    const int status = refused.code == Code::not_found            ? 404
                       : refused.code == Code::forbidden          ? 403
                       : refused.code == Code::method_not_allowed ? 405
                       : refused.code == Code::too_large          ? 413
                                                                  : 400;
    exchange.respond(http::Response::text(status, refused.message + "\n"));
  }

 private:
  struct Peer {
    std::string address;
    std::deque<std::string> queue;
    std::size_t bytes = 0;
    bool sending = false;
  };

  // Each POST takes all that waits, as far as it fits; a frame that does not fit goes in pieces.
  Task<void> send_all(std::shared_ptr<Peer> peer) {
    while (!peer->queue.empty()) {
      Result<void> outcome;
      if (peer->queue.front().size() > options_.max_post_bytes) {
        std::string frame = take_front(*peer);
        outcome = co_await send_pieces(peer, std::move(frame));
      } else {
        std::vector<std::string> frames;
        std::size_t bytes = 0;
        while (!peer->queue.empty() &&
               (frames.empty() || bytes + peer->queue.front().size() <= options_.max_post_bytes)) {
          bytes += peer->queue.front().size();
          frames.push_back(take_front(*peer));
        }
        outcome = co_await post(peer, encode_frames(frames));
      }
      if (outcome) continue;
      complain(peer->address, "a server cannot be reached", outcome.error());
      // By the time it can be, what waits here is old.
      peer->queue.clear();
      peer->bytes = 0;
      co_await env_.clock->sleep_for(kPause);
    }
    peer->sending = false;
  }

  std::string take_front(Peer& peer) {
    std::string frame = std::move(peer.queue.front());
    peer.queue.pop_front();
    peer.bytes -= frame.size();
    return frame;
  }

  Task<Result<void>> send_pieces(std::shared_ptr<Peer> peer, std::string frame) {
    Piece piece;
    piece.id = env_.random->next();
    const std::size_t most = options_.max_post_bytes;
    piece.count = static_cast<std::uint32_t>((frame.size() + most - 1) / most);
    for (; piece.number < piece.count; ++piece.number) {
      piece.bytes = std::string_view(frame).substr(piece.number * most, most);
      SKIFF_CO_CHECK(co_await post(peer, encode_piece(piece)));
    }
    co_return Result<void>();
  }

  Task<Result<void>> post(std::shared_ptr<Peer> peer, std::string body) {
    http::ClientRequest request;
    request.method = http::Method::post;
    request.url = peer->address + std::string(kRaftPath);
    request.headers.add("Content-Type", "application/octet-stream");
    request.body = std::move(body);
    request.timeout = options_.timeout;
    request.max_body = 64U << 10U;
    const auto response = co_await client_.request(std::move(request));
    if (!response) co_return response.error();
    if (response->status == 204) co_return Result<void>();
    std::string said = response->body.substr(0, 200);
    while (!said.empty() && said.back() == '\n') said.pop_back();
    co_return Error{Code::unavailable,
                    "it answered " + std::to_string(response->status) + ": " + said};
  }

  // An empty message: all is well.
  Error take(const http::Request& request) {
    if (request.path != kRaftPath) return {Code::not_found, "there is nothing here"};
    const auto& certificate = request.connection ? request.connection->client_certificate
                                                 : std::optional<http::ClientCertificate>();
    if (!certificate) {
      const std::string why =
          request.connection ? request.connection->client_certificate_error : std::string();
      return {Code::forbidden, "servers of the cluster show a certificate" +
                                   (why.empty() ? std::string() : ": " + why)};
    }
    const auto& groups = certificate->organizations;
    if (std::find(groups.begin(), groups.end(), options_.organization) == groups.end()) {
      return {Code::forbidden, "the certificate of " + certificate->common_name +
                                   " is not that of a server of the cluster"};
    }
    if (certificate->not_after < env_.clock->wall()) {
      return {Code::forbidden, "the certificate of " + certificate->common_name + " has expired"};
    }
    if (request.method != http::Method::post) return {Code::method_not_allowed, "POST frames here"};
    const auto decoded = decode_post(request.body);
    if (!decoded) return decoded.error();
    for (const std::string_view frame : decoded->frames) {
      if (receiver_) receiver_(std::string(frame));
    }
    if (decoded->piece) {
      auto whole =
          assembly_.add(certificate->common_name, *decoded->piece, options_.max_frame_bytes);
      if (!whole) return whole.error();
      if (*whole && receiver_) receiver_(std::move(**whole));
    }
    return {Code::internal, ""};
  }

  void complain(const std::string& about, std::string_view message, const Error& error) {
    const TimePoint now = env_.clock->now();
    if (complaints_.size() > 256) complaints_.clear();
    const auto [it, fresh] = complaints_.try_emplace(about, now);
    if (!fresh && now - it->second < kComplainEvery) return;
    it->second = now;
    log::warn("raft", message, {{"server", about}, {"error", error}});
  }

  Env env_;
  HttpNetworkOptions options_;
  http::Client client_;
  Receiver receiver_;
  std::map<Id, std::shared_ptr<Peer>> peers_;
  Assembly assembly_;
  std::map<std::string, TimePoint> complaints_;
  bool stopped_ = false;
  TaskGroup tasks_;
};

}  // namespace

std::unique_ptr<HttpNetwork> make_http_network(Env env, HttpNetworkOptions options) {
  return std::make_unique<Impl>(env, std::move(options));
}

}  // namespace skiff::raft
