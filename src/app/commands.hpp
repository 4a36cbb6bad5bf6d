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
// `skiff status`: the servers of a cluster, their roles, lag and health.
int status_main(std::vector<std::string> args);
// `skiff server remove NAME`.
int server_remove_main(std::vector<std::string> args);
// `skiff token create`.
int token_main(std::vector<std::string> args);
// `skiff encryption status|rotate|reload`.
int encryption_main(std::vector<std::string> args);

// `skiff snapshot save|restore|ls`.
int snapshot_main(std::vector<std::string> args);
// `skiff fork`.
int fork_main(std::vector<std::string> args);

}  // namespace skiff::app
