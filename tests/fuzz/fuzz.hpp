// What a fuzz target defines. An input that breaks a promise aborts (SKIFF_ASSERT).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// Inputs to begin with; pieces of them are also what mutations insert.
std::span<const std::string_view> fuzz_seeds();
