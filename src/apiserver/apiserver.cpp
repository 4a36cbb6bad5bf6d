#include "skiff/apiserver/apiserver.hpp"

#include "service.hpp"

namespace skiff::apiserver {

struct ApiServer::State {
  Service service;
};

ApiServer::ApiServer(Env env, registry::Registry& registry, ServiceAccountTokens* tokens,
                     Options options)
    : state_(std::make_unique<State>(State{Service(env, registry, tokens, std::move(options))})) {}

ApiServer::~ApiServer() = default;

Task<void> ApiServer::handle(http::Request request, http::Exchange& exchange) {
  return state_->service.handle(std::move(request), exchange);
}

void ApiServer::set_ready(bool ready) noexcept { state_->service.set_ready(ready); }

http::Response ApiServer::format_refusal(const http::Refusal& refusal) {
  Code code = Code::bad_request;
  if (refusal.status == 413) code = Code::too_large;
  if (refusal.status == 408) code = Code::timeout;
  if (refusal.status >= 500) code = Code::internal;
  http::Response response = status_response({code, refusal.message});
  response.status = refusal.status;
  return response;
}

}  // namespace skiff::apiserver
