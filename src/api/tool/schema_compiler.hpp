// The schema notation (src/api/schema/README.md) as the compiler holds it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skiff::api::tool {

// A mistake in a schema file; what() names the file and line.
struct SchemaError : std::exception {
  explicit SchemaError(std::string m) : message(std::move(m)) {}
  const char* what() const noexcept override { return message.c_str(); }
  std::string message;
};

// One line as words. A parenthesis belongs to the word it follows: `map(name kind)` is one word.
struct Line {
  std::string file;
  int number = 0;
  bool indented = false;
  std::vector<std::string> words;
  std::string text;  // of a `-- description` line
};

struct FieldDef {
  std::string name;
  std::string type;  // as written, without `?` and `!`
  bool pointer = false;
  bool always = false;
  bool inlined = false;
  int number = 0;
  int embedded_in[2] = {0, 0};
  std::map<std::string, std::string> attributes;  // `min(0)` -> {"min", "0"}
  std::string description;
  std::string package;  // names in `type` are looked up here
  std::string where;
};

struct TypeDef {
  std::string package;
  std::string name;
  bool atomic = false;
  std::string description;
  std::vector<FieldDef> fields;
  std::string where;
};

struct SubDef {
  std::string name;
  std::string kind;
  std::string type;  // empty: no document
  std::string group;
  std::string version;
  std::vector<std::string> verbs;
};

struct ColumnDef {
  std::string name;
  std::string type;
  std::string format;
  bool wide = false;
};

struct ResourceDef {
  std::string package;
  std::string plural;
  std::string kind;
  bool namespaced = false;
  std::map<std::string, std::string> attributes;
  std::vector<SubDef> subresources;
  std::vector<ColumnDef> columns;
  std::string where;
};

struct Package {
  std::string nick;
  std::string definition_prefix;
  std::string group;  // "core" for the group without a name
  std::string version;
};

struct Schema {
  std::map<std::string, Package> packages;
  std::map<std::string, std::vector<std::string>> enums;  // by "package.Name"
  std::map<std::string, std::size_t> type_index;          // by "package.Name"
  std::vector<TypeDef> types;
  std::vector<ResourceDef> resources;

  // "package.Name" for a name used in `package`; throws when there is no such type or enum.
  std::string resolve(const std::string& package, const std::string& name,
                      const std::string& where) const;
};

// Reads files in the order given, which is the order of discovery.
Schema parse(const std::vector<std::string>& files);
// Replaces inlined members by those of the type they name, and adds list types.
void expand(Schema& schema);
// The tables as C++.
std::string generate(const Schema& schema);

// Splits `a b(c d) "e f"` at spaces outside parentheses and quotes.
std::vector<std::string> split_words(std::string_view text);

}  // namespace skiff::api::tool
