// The composition root: makes every part of a server, starts them in order, stops them in reverse.
#pragma once

#include "options.hpp"

namespace skiff::app {

// Runs until SIGINT or SIGTERM. Returns the exit code; what went wrong is on standard error, in one
// line.
int run_server(ServerOptions options);

// `skiff server`'s version: "v1.35.0+skiff.0.1.0".
std::string kubernetes_version();

}  // namespace skiff::app
