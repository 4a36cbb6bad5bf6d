#include <fstream>
#include <set>

#include "schema_compiler.hpp"

namespace skiff::api::tool {
namespace {

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw SchemaError(where + ": " + what);
}

// Attributes a field may carry; anything else is a typing error.
const std::set<std::string> kFieldAttributes = {"map",         "set",      "atomic",  "merge",
                                                "retain-keys", "required", "default", "immutable",
                                                "min",         "max",      "format"};
const std::set<std::string> kResourceAttributes = {"singular", "short",    "categories",
                                                   "verbs",    "volatile", "stored"};

std::pair<std::string, std::string> split_attribute(const std::string& word) {
  auto open = word.find('(');
  if (open == std::string::npos || word.back() != ')') return {word, ""};
  return {word.substr(0, open), word.substr(open + 1, word.size() - open - 2)};
}

std::string unquote(const std::string& word) {
  if (word.size() >= 2 && word.front() == '"' && word.back() == '"')
    return word.substr(1, word.size() - 2);
  return word;
}

std::vector<Line> read_lines(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw SchemaError(path + ": cannot be read");
  std::vector<Line> lines;
  std::string text;
  int number = 0;
  while (std::getline(in, text)) {
    int first = ++number;
    while (!text.empty() && text.back() == '\\') {
      std::string more;
      text.pop_back();
      if (!std::getline(in, more)) break;
      ++number;
      text += more;
    }
    auto start = text.find_first_not_of(' ');
    if (start == std::string::npos || text[start] == '#') continue;
    Line line{path, first, start > 0, {}, ""};
    if (text.compare(start, 3, "-- ") == 0) {
      line.text = text.substr(start + 3);
    } else {
      line.words = split_words(text);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

class Parser {
 public:
  explicit Parser(Schema& schema) : schema_(schema) {}

  void file(const std::string& path) {
    package_.clear();
    for (const Line& line : read_lines(path)) {
      where_ = line.file + ":" + std::to_string(line.number);
      if (!line.text.empty()) {
        if (!description_) fail(where_, "a description must follow a type or a field");
        if (!description_->empty()) *description_ += ' ';
        *description_ += line.text;
      } else if (line.indented) {
        member(line);
      } else {
        top(line);
      }
    }
  }

 private:
  void top(const Line& line) {
    const auto& w = line.words;
    type_ = nullptr;
    resource_ = nullptr;
    description_ = nullptr;
    if (w[0] == "package") return package(w);
    if (package_.empty()) fail(where_, "the file must begin with `package`");
    if (w.size() < 2) fail(where_, "a name must follow `" + w[0] + "`");
    if (w[0] == "enum") return enumeration(w);
    if (w[0] == "type") return type(w);
    if (w[0] == "resource") return resource(w);
    fail(where_, "`" + w[0] + "` is none of package, enum, type, resource");
  }

  void package(const std::vector<std::string>& w) {
    if (w.size() < 3) fail(where_, "write `package NICK PREFIX [group(G) version(V)]`");
    Package p{w[1], w[2], "", ""};
    for (std::size_t i = 3; i < w.size(); ++i) {
      auto [name, value] = split_attribute(w[i]);
      if (name == "group") p.group = value;
      if (name == "version") p.version = value;
    }
    package_ = p.nick;
    if (!schema_.packages.emplace(p.nick, p).second) fail(where_, "package twice: " + p.nick);
  }

  void enumeration(const std::vector<std::string>& w) {
    std::vector<std::string> values;
    for (std::size_t i = 2; i < w.size(); ++i) values.push_back(unquote(w[i]));
    if (!schema_.enums.emplace(package_ + "." + w[1], values).second) fail(where_, "enum twice");
  }

  void type(const std::vector<std::string>& w) {
    TypeDef t{package_, w[1], w.size() > 2 && w[2] == "atomic", "", {}, where_};
    if (!schema_.type_index.emplace(package_ + "." + w[1], schema_.types.size()).second)
      fail(where_, "type twice: " + w[1]);
    schema_.types.push_back(std::move(t));
    type_ = &schema_.types.back();
    description_ = &type_->description;
  }

  void resource(const std::vector<std::string>& w) {
    if (w.size() < 4 || (w[3] != "namespaced" && w[3] != "cluster"))
      fail(where_, "write `resource PLURAL KIND namespaced|cluster ...`");
    ResourceDef r{package_, w[1], w[2], w[3] == "namespaced", {}, {}, {}, where_};
    for (std::size_t i = 4; i < w.size(); ++i) {
      auto attribute = split_attribute(w[i]);
      if (!kResourceAttributes.contains(attribute.first)) fail(where_, "unknown: " + w[i]);
      r.attributes.insert(std::move(attribute));
    }
    schema_.resources.push_back(std::move(r));
    resource_ = &schema_.resources.back();
  }

  void member(const Line& line) {
    const auto& w = line.words;
    if (type_) return field(w);
    if (resource_ && w[0] == "sub" && w.size() >= 4) return subresource(w);
    if (resource_ && w[0] == "column" && w.size() >= 3) return column(w);
    fail(where_, "`" + w[0] + "` belongs to nothing");
  }

  void field(const std::vector<std::string>& w) {
    if (w.size() < 2) fail(where_, "write `NAME TYPE [@NUMBER] ...`");
    FieldDef f;
    f.name = w[0];
    f.type = w[1];
    f.inlined = f.name == "inline";
    f.package = package_;
    f.where = where_;
    for (; f.type.back() == '?' || f.type.back() == '!'; f.type.pop_back())
      (f.type.back() == '?' ? f.pointer : f.always) = true;
    for (std::size_t i = 2; i < w.size(); ++i) {
      if (w[i][0] == '@') {
        f.number = std::stoi(w[i].substr(1));
        continue;
      }
      auto attribute = split_attribute(w[i]);
      if (!kFieldAttributes.contains(attribute.first)) fail(where_, "unknown: " + w[i]);
      f.attributes.insert(std::move(attribute));
    }
    type_->fields.push_back(std::move(f));
    description_ = &type_->fields.back().description;
  }

  void subresource(const std::vector<std::string>& w) {
    SubDef s{w[1], w[2], w[2], "", "", {w.begin() + 3, w.end()}};
    if (s.kind[0] == '=') {
      s.kind.erase(0, 1);
      s.type.clear();
    }
    resource_->subresources.push_back(std::move(s));
  }

  void column(const std::vector<std::string>& w) {
    ColumnDef c{unquote(w[1]), w[2], "", false};
    for (std::size_t i = 3; i < w.size(); ++i) {
      auto [name, value] = split_attribute(w[i]);
      if (name == "format") c.format = value;
      if (name == "wide") c.wide = true;
    }
    resource_->columns.push_back(std::move(c));
  }

  Schema& schema_;
  std::string package_;
  std::string where_;
  TypeDef* type_ = nullptr;
  ResourceDef* resource_ = nullptr;
  std::string* description_ = nullptr;
};

// The fields of `type` with inlined ones replaced, depth first; `path` are the protobuf numbers of
// the messages around them.
std::vector<FieldDef> flatten(const Schema& schema, const TypeDef& type, std::vector<int> path) {
  std::vector<FieldDef> out;
  for (const FieldDef& f : type.fields) {
    if (!f.inlined) {
      if (path.size() > 2) fail(f.where, "embedded too deeply");
      out.push_back(f);
      for (std::size_t i = 0; i < path.size(); ++i) out.back().embedded_in[i] = path[i];
      continue;
    }
    auto inner = path;
    if (f.number) inner.push_back(f.number);
    const auto& target =
        schema.types[schema.type_index.at(schema.resolve(type.package, f.type, f.where))];
    for (FieldDef& g : flatten(schema, target, inner)) {
      if (!f.number) g.number = 0;  // embedded in JSON alone, as TypeMeta is
      out.push_back(std::move(g));
    }
  }
  return out;
}

void add_list_type(Schema& schema, const ResourceDef& r) {
  auto verbs = r.attributes.find("verbs");
  if (verbs != r.attributes.end() && verbs->second.find("list") == std::string::npos) return;
  std::string name = r.kind + "List";
  if (schema.type_index.contains(r.package + "." + name)) return;
  TypeDef t{r.package, name,   false, "Objects of kind " + r.kind + ", as list calls return them.",
            {},        r.where};
  auto add = [&](const char* field, std::string type, int number, const char* description) {
    FieldDef f;
    f.name = field;
    f.type = std::move(type);
    f.number = number;
    f.package = r.package;
    f.where = r.where;
    f.description = description;
    t.fields.push_back(std::move(f));
  };
  add("kind", "string", 0, "The name of this type.");
  add("apiVersion", "string", 0, "The group and version of this type.");
  add("metadata", "meta.ListMeta", 1, "The revision of the list and where to continue it.");
  add("items", "[]" + r.kind, 2, "The objects.");
  t.fields.back().always = true;
  schema.type_index.emplace(r.package + "." + name, schema.types.size());
  schema.types.push_back(std::move(t));
}

}  // namespace

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  int depth = 0;
  bool quoted = false;
  for (char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted && c == '(') ++depth;
    if (!quoted && c == ')') --depth;
    if (c == ' ' && depth == 0 && !quoted) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    } else {
      word += c;
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string Schema::resolve(const std::string& package, const std::string& name,
                            const std::string& where) const {
  std::string full = name.find('.') == std::string::npos ? package + "." + name : name;
  if (!type_index.contains(full) && !enums.contains(full)) fail(where, "no type named " + name);
  return full;
}

Schema parse(const std::vector<std::string>& files) {
  Schema schema;
  Parser parser(schema);
  for (const auto& file : files) parser.file(file);
  return schema;
}

void expand(Schema& schema) {
  std::set<std::string> inlined;
  std::vector<std::vector<FieldDef>> flat;
  for (const TypeDef& t : schema.types) flat.push_back(flatten(schema, t, {}));
  for (std::size_t i = 0; i < flat.size(); ++i) schema.types[i].fields = std::move(flat[i]);
  auto resources = schema.resources;  // add_list_type grows types only
  for (const ResourceDef& r : resources) add_list_type(schema, r);
}

}  // namespace skiff::api::tool
