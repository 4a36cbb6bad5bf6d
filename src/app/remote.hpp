// What the commands that speak to a running server share.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "skiff/api/value.hpp"
#include "skiff/client/http_client.hpp"

namespace skiff::app {

// The server whose kubeconfig is `kubeconfig`, or (when that is empty) the one of `data_dir`.
// unavailable when there is no such file.
Task<Result<std::shared_ptr<client::HttpClient>>> connect_remote(Env env, std::string data_dir,
                                                                 std::string kubeconfig);
// GET, and the answer as a document.
Task<Result<api::Value>> ask_remote(client::HttpClient* client, std::string path);

// Runs `command` on a loop of its own; the exit code. What went wrong is printed in one line.
int run_command(const std::string& name, const std::function<Task<Result<void>>(Env)>& command);

}  // namespace skiff::app
