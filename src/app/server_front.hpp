// What listens on a server's port: hands each request to the part its path belongs to. Parts come
// and go while it listens; servers must hear each other before the store, and with it the API, can
// open.
#pragma once

#include <string>
#include <vector>

#include "skiff/http/server.hpp"

namespace skiff::app {

class Front final : public http::Handler {
 public:
  // Paths that begin with `prefix` go to `handler`, which is unmounted or outlives this; the
  // longest prefix wins. Null takes it away: such requests are answered 503.
  void mount(std::string prefix, http::Handler* handler);

  Task<void> handle(http::Request request, http::Exchange& exchange) override;

 private:
  struct Mount {
    std::string prefix;
    http::Handler* handler;
  };
  std::vector<Mount> mounts_;  // longest prefix first
};

}  // namespace skiff::app
