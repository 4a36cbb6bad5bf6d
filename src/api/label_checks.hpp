// Which label keys and values selectors may name, worded as upstream's validation words it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace skiff::api {

std::vector<std::string> label_key_errors(std::string_view key);
std::vector<std::string> label_value_errors(std::string_view value);

}  // namespace skiff::api
