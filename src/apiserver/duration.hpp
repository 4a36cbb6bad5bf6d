// How kubectl shows lengths of time: "45s", "5m30s", "3h", "2d4h".
#pragma once

#include <string>

#include "skiff/api/value.hpp"
#include "skiff/base/clock.hpp"

namespace skiff::apiserver {

std::string human_duration(Duration d);
// Since an RFC 3339 timestamp; "<unknown>" when there is none.
std::string since(const api::Value& timestamp, WallTime now);

}  // namespace skiff::apiserver
