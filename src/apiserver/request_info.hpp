// What a URL and a method ask for.
#pragma once

#include <string>

#include "skiff/http/message.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::apiserver {

struct RequestInfo {
  bool is_resource = false;
  // get, list, watch, create, update, patch, delete, deletecollection; for other paths the method
  // in lower case.
  std::string verb;
  std::string group;
  std::string version;
  std::string resource;
  std::string ns;
  std::string name;
  std::string subresource;
  std::string rest;  // below a proxy subresource
  std::string path;
};

RequestInfo parse_request(const http::Request& request);

}  // namespace skiff::apiserver
