// skiff history: the changes of an object, a kind or a namespace, as a readable diff.
#include "skiff/cli/history.hpp"

#include <cstdio>

#include "diff.hpp"
#include "session.hpp"
#include "skiff/cli/flags.hpp"

namespace skiff::cli {
namespace {

using api::Value;

constexpr const char* kHistoryUsage =
    "usage: skiff history TYPE NAME | TYPE/NAME | TYPE      changes of an object or of all of a "
    "kind\n"
    "       skiff history -n NAMESPACE                      changes of everything in a namespace\n"
    "\n"
    "Changes of status and other noise alone are left out; --all shows them.\n"
    "\nFlags:\n";
constexpr const char* kUndoUsage =
    "usage: skiff undo TYPE NAME | TYPE/NAME [--to-revision N]   an object: before its last "
    "change, or as it was at N\n"
    "       skiff undo -n NAMESPACE --to-revision N              everything in a namespace\n"
    "\n"
    "An undo is a new write and can itself be undone. skiff history shows the revisions.\n"
    "\nFlags:\n";

int own_main(const std::string& verb, std::vector<std::string> args) {
  Request request;
  request.verb = verb;
  bool help = false;
  Flags f;
  f.add("kubeconfig", &request.kubeconfig, "FILE",
        "default: $KUBECONFIG, else skiff's own, else ~/.kube/config");
  f.add("data-dir", &request.data_dir, "DIR", "the kubeconfig of the server with this directory",
        'd');
  f.add("context", &request.context, "NAME", "context of the kubeconfig");
  f.add("namespace", &request.ns, "NS", "namespace", 'n');
  if (verb == "history") {
    f.add("all-namespaces", &request.all_namespaces, "", "a kind in all namespaces", 'A');
    f.add("output", &request.output, "FORMAT", "diff (default), yaml or json", 'o');
    f.add("limit", &request.limit, "N", "only the newest so many (default 20; 0: all)");
    f.add("all", &request.show_all, "", "status and other noise too");
  } else {
    f.add("to-revision", &request.to_revision, "N", "as it was at this revision");
    f.add("dry-run", &request.all, "", "say what would be done, and have the server check it");
  }
  f.add("help", &help, "", "show this", 'h');
  auto words = f.parse(args);
  if (!words) {
    std::fprintf(stderr, "error: %s\n", words.error().message.c_str());
    return 1;
  }
  request.words = std::move(*words);
  const bool empty = request.words.empty() && request.ns.empty();
  if (help || empty) {
    const char* usage = verb == "history" ? kHistoryUsage : kUndoUsage;
    std::fputs((usage + f.help()).c_str(), help ? stdout : stderr);
    return help ? 0 : 1;
  }
  return run_verb(std::move(request), verb == "history" ? run_history : run_undo);
}

// "2026-11-24T10:00:00.123456Z" as "2026-11-24 10:00:00".
std::string short_time(const std::string& time) {
  if (time.size() < 19) return "(time not known)   ";
  return time.substr(0, 10) + " " + time.substr(11, 8);
}

// What a change did, without the noise unless it is asked for; "" when nothing is left.
std::string changes_text(const Change& c, bool all) {
  const bool secret = c.resource->group.empty() && c.resource->plural == "secrets";
  const Value after = all ? c.object : without_noise(c.object);
  if (c.verb == "deleted" || c.verb == "kept") return " ";
  if (c.verb == "created") {
    // A new object is told by what it was made with, as removed from nothing.
    Value fresh = Value::object();
    for (const api::Member& m : after.members()) {
      if (m.name != "kind" && m.name != "apiVersion" && m.name != "metadata") {
        fresh.set(m.name, m.value);
      }
    }
    const auto found = differences(Value::object(), fresh);
    return found.empty() ? " " : diff_text(found, secret);
  }
  if (c.previous.is_null()) return "  (what was there before is no longer kept)\n";
  const Value before = all ? c.previous : without_noise(c.previous);
  return diff_text(differences(before, after), secret);
}

std::string name_of(const Change& c, bool with_namespace) {
  const Value& metadata = c.object["metadata"];
  std::string name = display_name(*c.resource, metadata["name"].as_string());
  const std::string& ns = metadata["namespace"].as_string();
  if (with_namespace && !ns.empty()) name += " in " + ns;
  return name;
}

void print_diffs(const History& h, const Request& r) {
  std::size_t hidden = 0;
  std::int64_t printed = 0;
  std::vector<std::string> blocks;
  for (auto c = h.changes.rbegin(); c != h.changes.rend(); ++c) {
    if (r.limit > 0 && printed == r.limit) break;
    std::string text = changes_text(*c, r.show_all);
    if (text.empty()) {
      ++hidden;
      continue;
    }
    if (text == " ") text.clear();
    ++printed;
    std::string head = "revision " + std::to_string(c->revision) + "  " + short_time(c->time);
    head += "  " + (c->author.empty() ? std::string("(author not known)") : c->author) + "  ";
    head += (c->verb == "kept" ? std::string("last changed before what is kept:") : c->verb) + " ";
    blocks.push_back(head + name_of(*c, r.all_namespaces) + "\n" + text);
  }
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    std::fputs(block->c_str(), stdout);
  }
  if (hidden > 0) {
    std::printf("(%zu changes of status alone are not shown: --all shows them)\n", hidden);
  }
}

void print_documents(const History& h, const Request& r) {
  Value list = Value::array();
  const std::size_t limit = r.limit > 0 ? static_cast<std::size_t>(r.limit) : h.changes.size();
  const std::size_t first = h.changes.size() - std::min(limit, h.changes.size());
  for (std::size_t i = first; i < h.changes.size(); ++i) {
    const Change& c = h.changes[i];
    Value one = Value::object({{"revision", c.revision}, {"time", c.time}, {"author", c.author}});
    one.set("verb", c.verb);
    one.set("object", c.object);
    list.push_back(std::move(one));
  }
  std::printf("%s%s",
              r.output == "json" ? api::to_json(list, 4).c_str() : api::to_yaml(list).c_str(),
              r.output == "json" ? "\n" : "");
}

Error nothing_found(const Session& s, const Named& named, std::int64_t compacted) {
  const std::string kept = "revision " + std::to_string(compacted) + " on";
  if (named.resource == nullptr) {
    return {Code::not_found, "nothing changed in namespace " + s.ns + " from " + kept};
  }
  if (named.name.empty()) {
    return {Code::not_found, "no " + std::string(named.resource->plural) + " changed from " + kept};
  }
  const std::string where = named.resource->namespaced ? " in namespace " + s.ns : "";
  return {Code::not_found, display_name(*named.resource, named.name) + " does not exist" + where +
                               ", nor did it from " + kept + ", which is what is kept"};
}

}  // namespace

int history_main(std::vector<std::string> args) { return own_main("history", std::move(args)); }
int undo_main(std::vector<std::string> args) { return own_main("undo", std::move(args)); }

Result<Named> parse_one(const std::vector<std::string>& words, bool kind_alone) {
  SKIFF_TRY(const std::vector<Named> names, parse_names(words));
  const bool one = names.size() == 1 && (kind_alone || !names[0].name.empty());
  if (!one) return Error{Code::bad_request, "name one object: TYPE NAME or TYPE/NAME"};
  return names[0];
}

Task<Result<History>> fetch_history(Session* s, Named named, std::int64_t limit) {
  http::Query query;
  if (named.resource != nullptr) {
    query.add("group", std::string(named.resource->group));
    query.add("version", std::string(named.resource->version));
    query.add("resource", std::string(named.resource->plural));
    if (!named.name.empty()) query.add("name", named.name);
  }
  const bool scoped = named.resource == nullptr || named.resource->namespaced;
  const bool everywhere = named.name.empty() && s->request.all_namespaces;
  if (scoped && !everywhere) query.add("namespace", s->ns);
  query.add("limit", std::to_string(limit));
  SKIFF_CO_TRY(const auto answer,
               co_await s->get("/skiff/v1/history?" + query.to_string(), "application/json"));
  if (answer.status >= 400) co_return client::error_from_answer(answer.status, answer.body);
  const api::ParseLimits limits{.max_bytes = SIZE_MAX, .max_depth = 1000};
  SKIFF_CO_TRY(const Value doc, api::parse_json(answer.body, limits));
  History out;
  out.revision = doc["revision"].as_int();
  out.compacted = doc["compacted"].as_int();
  std::map<std::string, Value> last;  // by object: what the change before left
  for (const Value& v : doc["changes"].items()) {
    Change c;
    c.revision = v["revision"].as_int();
    c.time = v["time"].as_string();
    c.author = v["author"].as_string();
    c.verb = v["verb"].as_string();
    c.resource = api::find_resource(v["group"].as_string(), v["version"].as_string(),
                                    v["resource"].as_string());
    if (c.resource == nullptr) continue;  // a newer server's kind
    c.object = v["object"];
    const Value& metadata = c.object["metadata"];
    const std::string key = std::string(c.resource->group) + "/" + std::string(c.resource->plural) +
                            "/" + metadata["namespace"].as_string() + "/" +
                            metadata["name"].as_string();
    if (const Value* previous = v.find("previous")) {
      c.previous = *previous;
    } else if (const auto found = last.find(key); found != last.end() && c.verb != "created") {
      c.previous = found->second;
    }
    last[key] = c.object;
    out.changes.push_back(std::move(c));
  }
  co_return out;
}

Task<Result<int>> run_history(Session* s) {
  const Request& r = s->request;
  const bool documents = r.output == "json" || r.output == "yaml";
  if (!documents && !r.output.empty() && r.output != "diff") {
    co_return Error{Code::bad_request, "unknown output \"" + r.output + "\": diff, yaml or json"};
  }
  if (r.limit < 0) co_return Error{Code::bad_request, "--limit: want 0 or more"};
  Named named;
  if (!r.words.empty()) {
    SKIFF_CO_TRY(named, parse_one(r.words, true));
  }
  // What is noise is only known here: more is asked for than will be shown.
  const std::int64_t asked = documents ? r.limit : r.limit * 10;
  SKIFF_CO_TRY(const History h, co_await fetch_history(s, named, asked));
  if (h.changes.empty()) co_return nothing_found(*s, named, h.compacted);
  if (documents) {
    print_documents(h, r);
  } else {
    print_diffs(h, r);
  }
  co_return 0;
}

}  // namespace skiff::cli
