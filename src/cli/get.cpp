// get: prints the Tables the server computes.
#include <cstdio>

#include "session.hpp"

namespace skiff::cli {
namespace {

using api::Value;

constexpr const char* kTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

std::string query_of(const Request& r) {
  http::Query query;
  if (!r.selector.empty()) query.add("labelSelector", r.selector);
  if (!r.field_selector.empty()) query.add("fieldSelector", r.field_selector);
  return query.empty() ? "" : "?" + query.to_string();
}

std::string cell_text(const Value& cell) {
  if (cell.is_string()) return cell.as_string();
  return cell.is_null() ? "<none>" : api::to_json(cell);
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

using Row = std::vector<std::string>;

void print_rows(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 3, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

std::string labels_text(const Value& labels) {
  std::string out;
  for (const auto& [k, v] : labels.members()) {
    out += (out.empty() ? "" : ",") + std::string(k) + "=" + v.as_string();
  }
  return out.empty() ? "<none>" : out;
}

std::vector<Row> rows_of(const Value& table, const Request& r, const std::string& prefix,
                         bool with_header) {
  std::vector<std::size_t> shown;
  Row header;
  if (r.all_namespaces) header.emplace_back("NAMESPACE");
  const auto columns = table["columnDefinitions"].items();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i]["priority"].as_int() > 0 && r.output != "wide") continue;
    shown.push_back(i);
    header.push_back(upper(columns[i]["name"].as_string()));
  }
  if (r.show_labels) header.emplace_back("LABELS");
  std::vector<Row> rows;
  if (with_header) rows.push_back(std::move(header));
  for (const Value& row : table["rows"].items()) {
    const Value& metadata = row["object"]["metadata"];
    Row out;
    if (r.all_namespaces) out.push_back(metadata["namespace"].as_string());
    for (const std::size_t i : shown) {
      std::string text = cell_text(row["cells"][i]);
      out.push_back(i == 0 ? prefix + text : text);
    }
    if (r.show_labels) out.push_back(labels_text(metadata["labels"]));
    rows.push_back(std::move(out));
  }
  return rows;
}

Task<Result<Value>> fetch(Session* s, const Named* named, std::string accept) {
  const std::string path =
      client::path_of(s->ref_of(*named->resource, named->name)) + query_of(s->request);
  SKIFF_CO_TRY(auto answer, co_await s->get(path, std::move(accept)));
  if (answer.status >= 400) co_return client::error_from_answer(answer.status, answer.body);
  co_return api::parse_json(answer.body, {1U << 30U, 1000});
}

// -o json, yaml, name.
Task<Result<int>> print_documents(Session* s, std::vector<Named> names) {
  Value items = Value::array();
  for (const Named& n : names) {
    SKIFF_CO_TRY(Value document, co_await fetch(s, &n, "application/json"));
    if (!n.name.empty()) {
      items.push_back(std::move(document));
      continue;
    }
    for (Value item : document["items"].items()) {
      item.set("apiVersion", document["apiVersion"]);
      item.set("kind", n.resource->kind);
      items.push_back(std::move(item));
    }
  }
  const std::string& output = s->request.output;
  if (output == "name") {
    for (const Value& item : items.items()) {
      const api::Resource* r = resource_of(item);
      std::printf("%s\n", display_name(*r, item["metadata"]["name"].as_string()).c_str());
    }
    co_return 0;
  }
  Value shown = Value::object({{"apiVersion", "v1"}, {"kind", "List"}});
  if (names.size() == 1 && !names[0].name.empty()) {
    shown = items[std::size_t{0}];
  } else {
    shown.set("items", std::move(items));
  }
  std::printf("%s%s",
              output == "json" ? api::to_json(shown, 4).c_str() : api::to_yaml(shown).c_str(),
              output == "json" ? "\n" : "");
  co_return 0;
}

Task<Result<int>> watch_changes(Session* s, Named named) {
  client::ListOptions options;
  options.label_selector = s->request.selector;
  options.field_selector = s->request.field_selector;
  if (!named.name.empty()) options.field_selector = "metadata.name=" + named.name;
  SKIFF_CO_TRY(auto stream, co_await s->client.watch(s->ref_of(*named.resource), options));
  for (;;) {
    SKIFF_CO_TRY(const auto events, co_await stream->next());
    for (const client::WatchEvent& event : events) {
      if (event.type == client::WatchEvent::Type::bookmark) continue;
      Named one{named.resource, event.object->name()};
      const auto table = co_await fetch(s, &one, kTable);
      if (table) print_rows(rows_of(*table, s->request, "", false));
    }
    std::fflush(stdout);
  }
}

}  // namespace

Task<Result<int>> run_get(Session* s) {
  SKIFF_CO_TRY(const std::vector<Named> names, parse_names(s->request.words));
  if (names.empty()) {
    co_return Error{Code::bad_request, "You must specify the type of resource to get"};
  }
  const std::string& output = s->request.output;
  if (output == "json" || output == "yaml" || output == "name") {
    co_return co_await print_documents(s, names);
  }
  if (!output.empty() && output != "wide") {
    co_return Error{Code::bad_request,
                    "unable to match a printer suitable for the output format \"" + output +
                        "\", allowed formats are: json,name,wide,yaml"};
  }
  std::size_t printed = 0;
  int exit_code = 0;
  const bool many_kinds = names.front().resource != names.back().resource;
  const api::Resource* last = nullptr;
  for (const Named& n : names) {
    const Result<Value> table = co_await fetch(s, &n, kTable);
    if (!table) {
      if (s->request.ignore_not_found && table.error().code == Code::not_found) continue;
      if (!n.name.empty() && names.size() > 1) {
        std::fprintf(stderr, "Error from server: %s\n", table.error().message.c_str());
        exit_code = 1;
        continue;
      }
      co_return table.error();
    }
    if ((*table)["rows"].empty()) continue;
    const bool header = !s->request.no_headers && n.resource != last;
    if (last != nullptr && n.resource != last) std::printf("\n");
    const std::string prefix = many_kinds ? display_name(*n.resource, "") : "";
    print_rows(rows_of(*table, s->request, prefix, header));
    last = n.resource;
    ++printed;
  }
  if (printed == 0 && exit_code == 0 && !s->request.ignore_not_found && !s->request.watch) {
    const bool scoped = names.front().resource->namespaced && !s->request.all_namespaces;
    std::fprintf(stderr, scoped ? "No resources found in %s namespace.\n" : "No resources found\n",
                 s->ns.c_str());
  }
  std::fflush(stdout);
  if (s->request.watch) co_return co_await watch_changes(s, names.front());
  co_return exit_code;
}

}  // namespace skiff::cli
