#include "server_front.hpp"

#include <algorithm>

namespace skiff::app {
namespace {

http::Response not_yet() {
  http::Buffers body;
  body.push_back(http::Buffer::literal(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
      R"("message":"the server is starting, or waits for the other servers",)"
      R"("reason":"ServiceUnavailable","details":{"retryAfterSeconds":1},"code":503})"));
  http::Response response = http::Response::make(503, "application/json", std::move(body));
  response.headers.add("Retry-After", "1");
  return response;
}

}  // namespace

void Front::mount(std::string prefix, http::Handler* handler) {
  std::erase_if(mounts_, [&](const Mount& m) { return m.prefix == prefix; });
  mounts_.push_back({std::move(prefix), handler});
  std::stable_sort(mounts_.begin(), mounts_.end(), [](const Mount& a, const Mount& b) {
    return a.prefix.size() > b.prefix.size();
  });
}

Task<void> Front::handle(http::Request request, http::Exchange& exchange) {
  for (const Mount& m : mounts_) {
    if (!request.path.starts_with(m.prefix)) continue;
    if (m.handler == nullptr) break;
    http::Handler* handler = m.handler;
    co_await handler->handle(std::move(request), exchange);
    co_return;
  }
  exchange.respond(not_yet());
}

}  // namespace skiff::app
