// A loop under virtual time, and a directory that goes when the test ends.
#pragma once

#include <catch2/catch_message.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "../../support/loop.hpp"

namespace skiff::test {

template <class T>
bool ok(const Result<T>& result) {
  if (!result) UNSCOPED_INFO("error: " << result.error().message);
  return result.has_value();
}

struct Directory {
  Directory() {
    std::string name = "/tmp/skiff-app-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Directory() {
    std::error_code ec;
    std::filesystem::remove_all(path, ec);
  }
  std::string path;
};

// Runs `task` to its end; time passes as far as it must.
template <class T>
T finish(Loop& loop, Task<T> task) {
  std::optional<T> out;
  asio::co_spawn(loop.io, std::move(task), [&](std::exception_ptr error, T value) {
    if (error) std::rethrow_exception(error);
    out.emplace(std::move(value));
  });
  while (!out) {
    loop.io.restart();
    if (loop.io.poll_one() == 0) loop.clock.advance_to_next();
  }
  return std::move(*out);
}

}  // namespace skiff::test
