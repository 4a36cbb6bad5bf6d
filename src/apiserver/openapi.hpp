// OpenAPI v2 (one document) and v3 (one a group-version, KEP-2896), generated from the schema when
// asked for. Nothing is kept: clients cache by hash, and making a document takes milliseconds.
#pragma once

#include <optional>
#include <string>

#include "skiff/http/message.hpp"

namespace skiff::apiserver {

class OpenApi {
 public:
  explicit OpenApi(std::string server_version) : version_(std::move(server_version)) {}

  // /openapi/v2, /openapi/v3 and /openapi/v3/...; empty for other paths.
  std::optional<http::Response> answer(const http::Request& request);

 private:
  const std::string& digest();  // changes whenever any document does
  http::Response index();
  std::optional<http::Response> group_document(const http::Request& request);
  http::Response whole_document(const http::Request& request);

  std::string version_;
  std::string digest_;
};

}  // namespace skiff::apiserver
