// Command-line flags and configuration files: one table serves both.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "skiff/api/value.hpp"
#include "skiff/base/result.hpp"

namespace skiff::cli {

// Flags write through to the variables given to add(), which hold the defaults and outlive this.
// Accepted forms: --name value, --name=value, --bool, --bool=false, -n value, -nvalue, and "--"
// before arguments only.
class Flags {
 public:
  using Target = std::variant<std::string*, std::int64_t*, bool*, std::vector<std::string>*>;

  // `value_name` appears in help ("DIR"); empty for booleans. Lists take commas or repetition.
  void add(std::string name, Target target, std::string value_name, std::string help,
           char short_name = '\0');

  // The arguments that are no flags, in order. bad_request with one clear line, and the nearest
  // known flag when one is misspelt.
  Result<std::vector<std::string>> parse(std::span<const std::string> args);
  // Keys of a configuration document are flag names without the dashes. Flags that were given on
  // the command line win, so call this after parse().
  Result<void> load(const api::Value& document, std::string_view file);

  bool given(std::string_view name) const;
  std::string help() const;

 private:
  struct Flag {
    std::string name;
    Target target;
    std::string value_name;
    std::string help;
    char short_name;
    bool given = false;
  };
  Flag* find(std::string_view name);
  Result<void> set(Flag& flag, std::string_view value, std::string_view shown_as);
  Error unknown(std::string_view shown_as, std::string_view name) const;

  std::vector<Flag> flags_;
};

}  // namespace skiff::cli
