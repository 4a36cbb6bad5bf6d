// The node API's images: what `skiff image` asks of a running server.
#pragma once

#include "skiff/http/server.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::kubelet {

// GET /images lists; POST /images/import?path=&name=, /images/pull?ref=, /images/tag?ref=&to=,
// /images/rm?ref=.
Task<http::Response> answer_images(runtime::ImageStore* images, http::Request request);

}  // namespace skiff::kubelet
