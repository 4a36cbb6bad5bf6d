// `skiff kubectl`: the everyday verbs of kubectl, in the same words. For everything else there is
// kubectl itself.
#pragma once

#include <string>
#include <vector>

namespace skiff::cli {

// Runs one command; returns the exit code. Output and errors as kubectl prints them.
int kubectl_main(std::vector<std::string> args);

}  // namespace skiff::cli
