// Build-time program: schema_compiler OUTPUT FILE... turns schema files into C++ tables.
#include "schema_compiler.hpp"

#include <cstdio>
#include <fstream>

int main(int argc, char** argv) {
  using namespace skiff::api::tool;
  if (argc < 3) {
    std::fputs("usage: schema_compiler OUTPUT SCHEMA...\n", stderr);
    return 1;
  }
  try {
    Schema schema = parse({argv + 2, argv + argc});
    expand(schema);
    std::ofstream out(argv[1]);
    out << generate(schema);
    out.close();
    if (!out) throw SchemaError(std::string(argv[1]) + ": cannot be written");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "schema_compiler: %s\n", e.what());
    return 1;
  }
  return 0;
}
