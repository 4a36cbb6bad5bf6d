// `skiff history` and `skiff undo`: who changed what and when, and back to what it was. They speak
// to a running server, like `skiff kubectl`.
#pragma once

#include <string>
#include <vector>

namespace skiff::cli {

int history_main(std::vector<std::string> args);
int undo_main(std::vector<std::string> args);

}  // namespace skiff::cli
