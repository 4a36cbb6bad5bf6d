// Objects and lists in the form a client asked for. The plain JSON form is made of the stored bytes
// themselves; only Tables and YAML look inside.
#pragma once

#include "media.hpp"
#include "skiff/http/message.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::apiserver {

enum class IncludeObject : std::uint8_t { none, metadata, object };

struct Presentation {
  Form form;
  const api::Resource* resource = nullptr;  // null for documents that are never tables
  IncludeObject include = IncludeObject::metadata;
  WallTime now{};
};

// not_acceptable when a list shape is asked of an object and the like.
Result<http::Buffers> present(const Presentation& p, const registry::ItemPtr& item);
Result<http::Buffers> present(const Presentation& p, const registry::Listing& listing);

// One watched object; `columns`: a Table names its columns (once per stream is enough).
http::Buffers present_event(const Presentation& p, const registry::WatchEvent& event, bool columns);

// JSON bytes as they are, or as YAML, or indented.
http::Buffers encode_as(const Form& form, http::Buffers json);
std::string_view content_type(const Form& form) noexcept;

// `include` of ?includeObject=; bad_request for unknown words.
Result<IncludeObject> parse_include(std::string_view text);

}  // namespace skiff::apiserver
