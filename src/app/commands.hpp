// skiff's own small commands.
#pragma once

#include <string>
#include <vector>

namespace skiff::app {

// `skiff image import|pull|ls|rm|tag`: speaks to the running server; with none running, works on
// the store itself.
int image_main(std::vector<std::string> args);
// `skiff check`: what this machine can and cannot do.
int check_main(std::vector<std::string> args);

}  // namespace skiff::app
