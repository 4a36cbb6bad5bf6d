// describe: a document in words, with its events. One layout for every kind, after the schema's own
// structure.
#include <algorithm>
#include <cstdio>

#include "session.hpp"

namespace skiff::cli {
namespace {

using api::ObjectPtr;
using api::Value;

// "podManagementPolicy" -> "Pod Management Policy".
std::string title(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool upper = c >= 'A' && c <= 'Z';
    const bool after_lower = i > 0 && !(name[i - 1] >= 'A' && name[i - 1] <= 'Z');
    if (upper && after_lower && i > 0) out += ' ';
    out += i == 0 ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
  }
  return out;
}

bool is_plain_list(const Value& v) {
  return v.is_array() && std::none_of(v.items().begin(), v.items().end(), [](const Value& item) {
           return item.is_object() || item.is_array();
         });
}

std::string scalar(const Value& v) {
  if (v.is_string()) return v.as_string();
  if (v.is_null()) return "<none>";
  if (is_plain_list(v)) {
    std::string out;
    for (const Value& item : v.items()) out += (out.empty() ? "" : ", ") + scalar(item);
    return out.empty() ? "<none>" : out;
  }
  return api::to_json(v);
}

void print_line(std::size_t indent, const std::string& label, const std::string& text) {
  const std::string left = std::string(indent, ' ') + label + ":";
  std::printf("%-*s %s\n", static_cast<int>(std::max<std::size_t>(17, left.size() + 1)),
              left.c_str(), text.c_str());
}

void print_value(std::size_t indent, std::string_view name, const Value& v, bool keys_are_names);

void print_members(std::size_t indent, const Value& v, bool keys_are_names) {
  for (const auto& [name, value] : v.members()) print_value(indent, name, value, keys_are_names);
}

void print_value(std::size_t indent, std::string_view name, const Value& v, bool keys_are_names) {
  const std::string label = keys_are_names ? std::string(name) : title(name);
  if (v.is_object() && !v.empty()) {
    std::printf("%s%s:\n", std::string(indent, ' ').c_str(), label.c_str());
    const bool free_keys = name == "labels" || name == "annotations" || name == "matchLabels" ||
                           name == "limits" || name == "requests" || name == "data" ||
                           name == "capacity" || name == "allocatable" || name == "nodeSelector";
    print_members(indent + 2, v, free_keys);
  } else if (v.is_array() && !is_plain_list(v)) {
    std::printf("%s%s:\n", std::string(indent, ' ').c_str(), label.c_str());
    std::size_t n = 0;
    for (const Value& item : v.items()) {
      const std::string& own = item["name"].as_string();
      const std::string& type = item["type"].as_string();
      const std::string head = !own.empty() ? own : !type.empty() ? type : std::to_string(n);
      std::printf("%s%s:\n", std::string(indent + 2, ' ').c_str(), head.c_str());
      print_members(indent + 4, item, false);
      ++n;
    }
  } else {
    print_line(indent, label, v.is_object() ? "<none>" : scalar(v));
  }
}

void print_map(const char* label, const Value& map) {
  bool first = true;
  for (const auto& [k, v] : map.members()) {
    if (k == "kubectl.kubernetes.io/last-applied-configuration") continue;
    print_line(0, first ? label : "", std::string(k) + "=" + v.as_string());
    first = false;
  }
  if (first) print_line(0, label, "<none>");
}

// "3m12s", as kubectl shows ages.
std::string age(Duration d) {
  const auto s =
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(d).count());
  if (s < 120) return std::to_string(s) + "s";
  if (s < 600)
    return std::to_string(s / 60) + "m" + (s % 60 != 0 ? std::to_string(s % 60) + "s" : "");
  if (s < 3 * 3600) return std::to_string(s / 60) + "m";
  if (s < 48 * 3600) return std::to_string(s / 3600) + "h";
  return std::to_string(s / 86400) + "d";
}

Task<Result<void>> print_events(Session* s, ObjectPtr object) {
  client::ListOptions options;
  options.field_selector = "involvedObject.uid=" + object->uid();
  const std::string ns = object->ns().empty() ? "default" : object->ns();
  SKIFF_CO_TRY(auto events, co_await s->client.list(client::resources::kEvents.in(ns), options));
  if (events.items.empty()) {
    print_line(0, "Events", "<none>");
    co_return Result<void>();
  }
  const auto last_seen = [](const ObjectPtr& e) {
    const std::string& last = (*e)["lastTimestamp"].as_string();
    return last.empty() ? (*e)["eventTime"].as_string() : last;
  };
  std::sort(events.items.begin(), events.items.end(),
            [&](const ObjectPtr& a, const ObjectPtr& b) { return last_seen(a) < last_seen(b); });
  std::printf("Events:\n  %-8s %-18s %-16s %-20s %s\n", "Type", "Reason", "Age", "From", "Message");
  for (const ObjectPtr& e : events.items) {
    const auto at = parse_time(last_seen(e));
    std::string when = at ? age(s->env.clock->wall() - *at) : "<unknown>";
    const std::int64_t count = (*e)["count"].as_int(1);
    if (count > 1) when += " (x" + std::to_string(count) + ")";
    const std::string& from = (*e)["source"]["component"].as_string();
    std::printf("  %-8s %-18s %-16s %-20s %s\n", (*e)["type"].as_string().c_str(),
                (*e)["reason"].as_string().c_str(), when.c_str(), from.c_str(),
                (*e)["message"].as_string().c_str());
  }
  co_return Result<void>();
}

Task<Result<void>> describe_one(Session* s, ObjectPtr object) {
  const Value& root = object->root();
  print_line(0, "Name", object->name());
  if (!object->ns().empty()) print_line(0, "Namespace", object->ns());
  print_map("Labels", object->labels());
  print_map("Annotations", object->annotations());
  print_line(0, "Created", object->metadata()["creationTimestamp"].as_string());
  if (object->deleting()) {
    print_line(0, "Terminating since", object->metadata()["deletionTimestamp"].as_string());
  }
  if (const Value* owner = api::controller_of(root)) {
    print_line(0, "Controlled By",
               (*owner)["kind"].as_string() + "/" + (*owner)["name"].as_string());
  }
  for (const auto& [name, value] : root.members()) {
    if (name == "apiVersion" || name == "kind" || name == "metadata") continue;
    if (object->kind() == "Secret" && (name == "data" || name == "stringData")) {
      std::printf("Data:\n");
      for (const auto& [key, text] : value.members()) {
        print_line(2, std::string(key), std::to_string(text.as_string().size() * 3 / 4) + " bytes");
      }
      continue;
    }
    print_value(0, name, value, false);
  }
  co_return co_await print_events(s, object);
}

}  // namespace

Task<Result<int>> run_describe(Session* s) {
  SKIFF_CO_TRY(const auto names, parse_names(s->request.words));
  if (names.empty()) {
    co_return Error{Code::bad_request, "You must specify the type of resource to describe."};
  }
  bool first = true;
  for (const Named& n : names) {
    std::vector<ObjectPtr> objects;
    if (!n.name.empty()) {
      SKIFF_CO_TRY(auto object, co_await s->client.get(s->ref_of(*n.resource, n.name)));
      objects.push_back(std::move(object));
    } else {
      client::ListOptions options;
      options.label_selector = s->request.selector;
      SKIFF_CO_TRY(auto list, co_await s->client.list(s->ref_of(*n.resource), options));
      objects = std::move(list.items);
    }
    for (const ObjectPtr& object : objects) {
      if (!first) std::printf("\n\n");
      first = false;
      SKIFF_CO_CHECK(co_await describe_one(s, object));
    }
  }
  if (first) std::fprintf(stderr, "No resources found in %s namespace.\n", s->ns.c_str());
  co_return 0;
}

}  // namespace skiff::cli
