#include <algorithm>
#include <functional>
#include <set>

#include "schema_compiler.hpp"

namespace skiff::api::tool {
namespace {

const std::map<std::string, std::string> kPrimitives = {
    {"string", "string"},        {"bool", "boolean"},         {"int32", "int32"},
    {"int64", "int64"},          {"number", "number"},        {"bytes", "bytes"},
    {"quantity", "quantity"},    {"intstr", "int_or_string"}, {"time", "time"},
    {"microtime", "micro_time"}, {"duration", "duration"},    {"any", "any"}};

// A type expression, taken apart.
struct Shape {
  std::string kind;          // enumerator of skiff::api::Kind
  std::string element_kind;  // list and map
  std::string type;          // "package.Name" of the struct, or empty
  std::string enumeration;   // "package.Name" of the enum, or empty
};

std::string literal(std::string_view s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"sv";
}

class Generator {
 public:
  explicit Generator(const Schema& schema) : schema_(schema) {}

  std::string run() {
    collect_used();
    std::string fields, types, type_list;
    std::size_t first = 0;
    for (std::size_t i = 0; i < used_.size(); ++i) {
      const TypeDef& t = *used_[i];
      for (const FieldDef& f : t.fields) fields += "    " + field(f) + ",\n";
      types += "    {.name = " + literal(definition_name(t)) +
               ", .fields = " + slice("kFields", first, t.fields.size()) +
               text(".description", t.description) + (t.atomic ? ", .atomic = true" : "") + "},\n";
      type_list += " &kTypes[" + std::to_string(i) + "],";
      first += t.fields.size();
    }
    std::string resources = resources_table();
    std::string out =
        "// Made by schema_compiler from src/api/schema; not to be edited.\n"
        "#include \"schema_tables.hpp\"\n\n"
        "namespace skiff::api::tables {\n"
        "using namespace std::string_view_literals;\n"
        "extern const Field kFields[" +
        std::to_string(first) + "];\nextern const Type kTypes[" + std::to_string(used_.size()) +
        "];\nconstexpr std::string_view kStrings[] = {\n";
    for (const auto& s : strings_) out += "    " + literal(s) + ",\n";
    out += "};\nconstinit const Field kFields[] = {\n" + fields +
           "};\nconstinit const Type kTypes[] = {\n" + types;
    out += "};\nconstinit const Type* const kTypeList[] = {" + type_list + "};\n";
    out += resources + "}  // namespace skiff::api::tables\n";
    return out;
  }

 private:
  // Types that resources (or nothing but a caller by name, in package meta) can reach, in the order
  // they are written.
  void collect_used() {
    std::set<std::string> seen;
    std::function<void(const std::string&)> reach = [&](const std::string& full) {
      if (!seen.insert(full).second) return;
      for (const FieldDef& f : schema_.types[schema_.type_index.at(full)].fields) {
        Shape s = shape(f.package, f.type, f.where);
        if (!s.type.empty()) reach(s.type);
      }
    };
    for (const TypeDef& t : schema_.types)
      if (t.package == "meta") reach("meta." + t.name);
    for (const ResourceDef& r : schema_.resources) {
      reach(schema_.resolve(r.package, r.kind, r.where));
      if (schema_.type_index.contains(r.package + "." + r.kind + "List"))
        reach(r.package + "." + r.kind + "List");
      for (const SubDef& s : r.subresources)
        if (!s.type.empty()) reach(schema_.resolve(r.package, s.type, r.where));
    }
    for (const TypeDef& t : schema_.types) {
      std::string full = t.package + "." + t.name;
      if (!seen.contains(full)) continue;
      index_[full] = used_.size();
      used_.push_back(&t);
    }
  }

  std::string definition_name(const TypeDef& t) const {
    return schema_.packages.at(t.package).definition_prefix + "." + t.name;
  }

  Shape shape(const std::string& package, const std::string& text, const std::string& where) const {
    if (text.starts_with("[]") && text != "[]byte") {
      Shape e = shape(package, text.substr(2), where);
      if (e.kind == "map") throw SchemaError(where + ": lists of maps are not supported");
      return {"list", e.kind, e.type, e.enumeration};
    }
    if (text.starts_with("{") && text.ends_with("}")) {
      Shape e = shape(package, text.substr(1, text.size() - 2), where);
      return {"map", e.kind, e.type, e.enumeration};
    }
    if (text.starts_with("any<")) {
      return {"any", "", schema_.resolve(package, text.substr(4, text.size() - 5), where), ""};
    }
    if (auto p = kPrimitives.find(text); p != kPrimitives.end()) return {p->second, "", "", ""};
    std::string full = schema_.resolve(package, text, where);
    if (schema_.enums.contains(full)) return {"string", "", "", full};
    return {"object", "", full, ""};
  }

  // A span over strings of the pool; equal lists share their place.
  std::string string_span(const std::vector<std::string>& list) {
    if (list.empty()) return "{}";
    auto [it, fresh] = spans_.emplace(list, strings_.size());
    if (fresh) strings_.insert(strings_.end(), list.begin(), list.end());
    return slice("kStrings", it->second, list.size());
  }

  static std::string slice(const char* table, std::size_t first, std::size_t count) {
    if (count == 0) return "{}";
    return "{" + std::string(table) + " + " + std::to_string(first) + ", " + std::to_string(count) +
           "}";
  }

  static std::string text(const char* member, const std::string& value) {
    return value.empty() ? "" : std::string(", ") + member + " = " + literal(value);
  }

  std::string field(const FieldDef& f) {
    Shape s = shape(f.package, f.type, f.where);
    const auto& a = f.attributes;
    auto value = [&](const char* name) { return a.contains(name) ? a.at(name) : std::string(); };
    std::string out = "{.name = " + literal(f.name) + ", .kind = Kind::" + s.kind;
    if (!s.element_kind.empty()) out += ", .element_kind = Kind::" + s.element_kind;
    if (!s.type.empty()) out += ", .type = &kTypes[" + std::to_string(index_.at(s.type)) + "]";
    if (a.contains("required")) out += ", .required = true";
    if (a.contains("immutable")) out += ", .immutable = true";
    if (f.pointer) out += ", .has_pointer = true";
    if (f.always) out += ", .always = true";
    if (a.contains("atomic")) out += ", .atomic = true";
    if (f.number) out += ", .number = " + std::to_string(f.number);
    if (f.embedded_in[0])
      out += ", .embedded_in = {" + std::to_string(f.embedded_in[0]) + ", " +
             std::to_string(f.embedded_in[1]) + "}";
    if (a.contains("set")) out += ", .list_type = ListType::set";
    if (a.contains("map"))
      out += ", .list_type = ListType::map, .list_keys = " + string_span(split_words(a.at("map")));
    out += text(".merge_key", value("merge"));
    if (a.contains("merge")) out += ", .merge = true";
    if (a.contains("retain-keys")) out += ", .retain_keys = true";
    if (!s.enumeration.empty()) out += ", .enums = " + string_span(schema_.enums.at(s.enumeration));
    out += text(".format", value("format")) + text(".default_json", value("default"));
    if (a.contains("min")) out += ", .minimum = " + a.at("min");
    if (a.contains("max")) out += ", .maximum = " + a.at("max");
    return out + text(".description", f.description) + "}";
  }

  static std::string verb_bits(const std::vector<std::string>& verbs, const std::string& where) {
    static const std::map<std::string, std::string> kBits = {
        {"get", "kGet"},       {"list", "kList"},
        {"watch", "kWatch"},   {"create", "kCreate"},
        {"update", "kUpdate"}, {"patch", "kPatch"},
        {"delete", "kDelete"}, {"deletecollection", "kDeleteCollection"}};
    std::string out;
    for (const auto& v : verbs) {
      if (!kBits.contains(v)) throw SchemaError(where + ": no verb named " + v);
      out += (out.empty() ? "" : " | ") + kBits.at(v);
    }
    return out;
  }

  static std::string group_name(const std::string& group) { return group == "core" ? "" : group; }

  void subresource(const ResourceDef& r, const SubDef& s, std::string& out) {
    std::string package = r.package, type = "nullptr";
    if (!s.type.empty()) {
      std::string full = schema_.resolve(r.package, s.type, r.where);
      package = full.substr(0, full.find('.'));
      type = "&kTypes[" + std::to_string(index_.at(full)) + "]";
    }
    const Package& p = schema_.packages.at(package);
    out += "    {" + literal(s.name) + ", " + literal(group_name(p.group)) + ", " +
           literal(p.version) + ", " + literal(s.kind.substr(s.kind.find('.') + 1)) + ", " + type +
           ", " + verb_bits(s.verbs, r.where) + "},\n";
  }

  std::string resources_table() {
    std::string subs, columns, resources;
    std::size_t sub_count = 0, column_count = 0;
    for (const ResourceDef& r : schema_.resources) {
      const Package& p = schema_.packages.at(r.package);
      auto value = [&](const char* name, std::string fallback) {
        return r.attributes.contains(name) ? r.attributes.at(name) : fallback;
      };
      for (const SubDef& s : r.subresources) subresource(r, s, subs);
      for (const ColumnDef& c : r.columns)
        columns += "    {" + literal(c.name) + ", " + literal(c.type) + ", " + literal(c.format) +
                   ", {}, " + (c.wide ? "1" : "0") + "},\n";
      std::string singular = r.kind;
      std::transform(singular.begin(), singular.end(), singular.begin(),
                     [](unsigned char ch) { return static_cast<char>(std::tolower(ch)); });
      auto stored = split_words(value("stored", p.group + " " + p.version));
      resources +=
          "    {" + literal(group_name(p.group)) + ", " + literal(p.version) + ", " +
          literal(r.plural) + ", " + literal(value("singular", singular)) + ", " + literal(r.kind) +
          ", " + (r.namespaced ? "true" : "false") + ", " +
          string_span(split_words(value("short", ""))) + ", " +
          string_span(split_words(value("categories", ""))) + ", " +
          verb_bits(split_words(value(
                        "verbs", "create delete deletecollection get list patch update watch")),
                    r.where) +
          ", " + slice("kSubresources", sub_count, r.subresources.size()) + ", " +
          slice("kColumns", column_count, r.columns.size()) + ", &kTypes[" +
          std::to_string(index_.at(r.package + "." + r.kind)) + "], " +
          (r.attributes.contains("volatile") ? "true" : "false") + ", " +
          literal(group_name(stored.at(0))) + ", " + literal(stored.at(1)) + "},\n";
      sub_count += r.subresources.size();
      column_count += r.columns.size();
    }
    return "constinit const Subresource kSubresources[] = {\n" + subs +
           "};\nconstexpr Column kColumns[] = {\n" + columns +
           "};\nconstinit const Resource kResources[] = {\n" + resources +
           "};\nconst std::span<const Resource> resources{kResources};\n"
           "constinit const std::span<const Type* const> types{kTypeList};\n";
  }

  const Schema& schema_;
  std::vector<const TypeDef*> used_;
  std::map<std::string, std::size_t> index_;
  std::vector<std::string> strings_;
  std::map<std::vector<std::string>, std::size_t> spans_;
};

}  // namespace

std::string generate(const Schema& schema) { return Generator(schema).run(); }

}  // namespace skiff::api::tool
