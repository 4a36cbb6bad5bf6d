// Kubernetes' protobuf form of request bodies, read by the schema's field numbers: generated client
// libraries send it by default. ("Kubernetes Protobuf encoding" in API Concepts; the wire format is
// protobuf's, proto2.)
#pragma once

#include <string_view>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::apiserver::protobuf {

// A whole body: the magic, the envelope and the object in it, as the document its JSON form would
// be. bad_request for bytes that are none, and for kinds the schema does not know.
Result<api::Value> parse_body(std::string_view bytes);

// One message of `type`.
Result<api::Value> parse_message(const api::Type& type, std::string_view bytes);

}  // namespace skiff::apiserver::protobuf
