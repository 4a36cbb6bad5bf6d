// Which groups, versions and resources there are: the legacy documents and the aggregated one
// (KEP-3352). All made once, at start, from the schema.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "skiff/http/message.hpp"

namespace skiff::apiserver {

class Discovery {
 public:
  Discovery();

  // /api, /apis, /apis/GROUP, /api/v1, /apis/GROUP/VERSION; empty for other paths.
  std::optional<http::Response> answer(const http::Request& request) const;

 private:
  struct Document {
    http::Buffer json;
    std::string etag;
  };
  std::map<std::string, Document, std::less<>> documents_;   // by path
  std::map<std::string, Document, std::less<>> aggregated_;  // "/api v2", "/apis v2", ...
};

}  // namespace skiff::apiserver
