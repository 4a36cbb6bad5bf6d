// Which form a client wants its answer in (HTTP Accept), and which form its body has.
#pragma once

#include <string>
#include <string_view>

#include "skiff/base/result.hpp"
#include "skiff/http/message.hpp"

namespace skiff::apiserver {

enum class Encoding : std::uint8_t { json, yaml };
enum class Shape : std::uint8_t { object, table, partial, partial_list };

struct Form {
  Encoding encoding = Encoding::json;
  Shape shape = Shape::object;
  bool pretty = false;
  std::string_view content_type() const noexcept;
};

// One entry of an Accept header: type/subtype and parameters, in lower case.
struct MediaRange {
  std::string type;
  std::vector<std::pair<std::string, std::string>> parameters;
  double quality = 1;
  std::string_view parameter(std::string_view name) const noexcept;
};
std::vector<MediaRange> parse_accept(std::string_view header);

// The first acceptable form, best quality first; not_acceptable when there is none. Protobuf is not
// spoken: a client that would take something else too gets that.
// `transforms`: Tables and PartialObjectMetadata can be made of what is asked for.
Result<Form> negotiate(const http::Request& request, bool transforms = true);

// The body's encoding; unsupported_media for anything but JSON and YAML. No header means JSON.
Result<Encoding> body_encoding(const http::Request& request);

}  // namespace skiff::apiserver
