// Errors as Kubernetes Status documents (API conventions, "Response Status Kind").
#pragma once

#include <string>

#include "skiff/apiserver/apiserver.hpp"
#include "skiff/base/result.hpp"

namespace skiff::apiserver {

int http_status(Code code) noexcept;
std::string_view reason_of(Code code) noexcept;

// {"kind":"Status","status":"Failure",...}
std::string status_json(const Error& error);

Error not_found_path();  // `the server could not find the requested resource`

}  // namespace skiff::apiserver
