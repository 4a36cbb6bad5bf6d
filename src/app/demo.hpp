// `skiff demo`: what the image skiff/demo runs. Needs nothing but the binary.
#pragma once

#include <string>
#include <vector>

namespace skiff::app {

// Without arguments an HTTP server on port 8080; `get URL`, `dns NAME` and `burn` are small tools
// beside it.
int demo_main(std::vector<std::string> args);

}  // namespace skiff::app
