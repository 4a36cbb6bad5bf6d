// SHA-256 as images are named by it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace skiff::runtime {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::string_view data);
  std::string finish();  // 64 lower-case hex digits; once

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_hex(std::string_view data);
// The hex digits of "sha256:<64 hex>"; empty when it is not one.
std::string sha256_of_digest(std::string_view digest);

}  // namespace skiff::runtime
