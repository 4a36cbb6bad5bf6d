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

Task<void> refuse(http::Exchange* exchange) {
  exchange->respond(not_yet());
  co_return;
}

}  // namespace

void Front::mount(std::string prefix, http::Handler* handler) {
  std::erase_if(mounts_, [&](const Mount& m) { return m.prefix == prefix; });
  mounts_.push_back({std::move(prefix), handler});
  std::stable_sort(mounts_.begin(), mounts_.end(), [](const Mount& a, const Mount& b) {
    return a.prefix.size() > b.prefix.size();
  });
}

// No coroutine itself: its frame would stand for as long as a watch lasts.
Task<void> Front::handle(http::Request request, http::Exchange& exchange) {
  for (const Mount& m : mounts_) {
    if (!request.path.starts_with(m.prefix)) continue;
    if (m.handler == nullptr) break;
    return m.handler->handle(std::move(request), exchange);
  }
  return refuse(&exchange);
}

}  // namespace skiff::app
