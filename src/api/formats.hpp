// The string formats that validation knows, worded as upstream words them (apimachinery's
// util/validation). Each returns what is wrong with the text; nothing when it is well formed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skiff::api {

using Complaints = std::vector<std::string>;

Complaints dns1123_label_errors(std::string_view text);
Complaints dns1123_subdomain_errors(std::string_view text);
Complaints wildcard_subdomain_errors(std::string_view text);  // *.example.com
Complaints dns1035_label_errors(std::string_view text);
Complaints port_number_errors(std::int64_t port);
Complaints port_name_errors(std::string_view text);  // RFC 6335 as Kubernetes narrows it
Complaints env_name_errors(std::string_view text);
Complaints config_key_errors(std::string_view text);
Complaints http_header_errors(std::string_view text);
Complaints path_segment_errors(std::string_view text);
Complaints ip_errors(std::string_view text);
Complaints cidr_errors(std::string_view text);
Complaints percent_errors(std::string_view text);
// By the name a schema gives a format ("dns1123label", ...); unknown names accept everything.
Complaints format_errors(std::string_view format, std::string_view text);

enum class AddressFamily : std::uint8_t { none, v4, v6 };
AddressFamily address_family(std::string_view ip) noexcept;

std::string range_text(std::int64_t low,
                       std::int64_t high);  // "must be between 1 and 9, inclusive"

}  // namespace skiff::api
