// Catch2 cannot print a Result: ok() does, where it is not the one expected.
#pragma once

#include <catch2/catch_message.hpp>

#include "skiff/base/result.hpp"

template <class T>
bool ok(const skiff::Result<T>& result) {
  if (!result) UNSCOPED_INFO("error: " << result.error().message);
  return result.has_value();
}
