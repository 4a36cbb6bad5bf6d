#include "script.hpp"

#include <map>
#include <set>
#include <sstream>

#include "objects.hpp"
#include "skiff/api/codec.hpp"
#include "skiff/api/schema.hpp"
#include "skiff/controllers/controllers.hpp"
#include "support/fake_client.hpp"
#include "support/loop.hpp"

namespace skiff::test {
namespace {

using Words = std::vector<std::string>;

std::string to_text(const Value& v) {
  if (v.is_string()) return v.as_string().empty() ? "\"\"" : v.as_string();
  if (v.is_null()) return "-";
  return api::to_json(v);
}

// "spec.replicas", "metadata.ownerReferences.0.name", "conditions:Ready" (status and reason).
std::string field_of(const Value& root, std::string path) {
  if (path.starts_with("condition:")) {
    const Value& c = controllers::condition(root["status"], path.substr(10));
    if (c.is_null()) return "-";
    const std::string& reason = c["reason"].as_string();
    return c["status"].as_string() + (reason.empty() ? "" : "/" + reason);
  }
  const Value* v = &root;
  while (!path.empty()) {
    // A member's name may have dots: in annotations and labels the rest is one name.
    std::string step = path.substr(0, path.find('.'));
    path.erase(0, step.size() + 1);
    if (const auto index = controllers::to_int(step); index && v->is_array()) {
      v = &(*v)[static_cast<std::size_t>(*index)];
      continue;
    }
    if (!v->has(step) && !path.empty()) {
      step += "." + path;
      path.clear();
    }
    v = &(*v)[step];
  }
  return to_text(*v);
}

client::Ref ref_of(const std::string& plural) {
  for (const api::Resource& r : api::resources()) {
    if (r.plural == plural) {
      return {std::string(r.group), std::string(r.version), plural, "", "", ""};
    }
  }
  throw std::runtime_error("no such resource: " + plural);
}

client::Ref object_ref(const Words& words) {
  const std::string& key = words.at(2);
  const auto slash = key.find('/');
  if (slash == std::string::npos) return ref_of(words.at(1)).at("", key);
  return ref_of(words.at(1)).at(key.substr(0, slash), key.substr(slash + 1));
}

Duration duration_of(const std::string& text) {
  const std::int64_t n = std::stoll(text);
  if (text.ends_with("ms")) return std::chrono::milliseconds(n);
  if (text.ends_with('s')) return std::chrono::seconds(n);
  if (text.ends_with('m')) return std::chrono::minutes(n);
  return std::chrono::hours(n);
}

class World {
 public:
  World() : informers_(loop_.env, api_), controllers_(loop_.env, api_, informers_, options()) {
    controllers_.start(tasks_.group);
    informers_.start(tasks_.group);
    loop_.run();
  }

  std::string run(const Words& words, const std::string& body) {
    const std::string& command = words.at(0);
    if (command == "apply") return apply(body);
    if (command == "patch") return patch(object_ref(words), body);
    if (command == "status") return patch(object_ref(words).sub("status"), body);
    if (command == "delete") return remove(words);
    if (command == "ready") return ready(words.at(1), true);
    if (command == "unready") return ready(words.at(1), false);
    if (command == "reap") return reap();
    if (command == "lease") return lease(words.at(1));
    if (command == "refuse") return refuse(words);
    if (command == "run") return advance(duration_of(words.at(1)));
    if (command == "show") return show(words);
    if (command == "events") return events();
    if (command == "writes") return writes();
    return "unknown command " + command + "\n";
  }

 private:
  static controllers::Options options() {
    controllers::Options options;
    options.ca_pem = "CA";
    options.terminated_pods = 3;
    options.cluster_cidr = "10.42.0.0/22";  // four nodes
    return options;
  }

  template <class T>
  static std::string outcome(const Result<T>& result) {
    return result ? "" : "error: " + result.error().message + "\n";
  }

  std::string advance(Duration d) {
    loop_.run(d);
    return "";
  }

  std::string apply(const std::string& body) {
    auto documents = api::parse_yaml_stream(body);
    if (!documents) return outcome(documents);
    std::string out;
    for (Value& doc : *documents) {
      const auto gv = api::GroupVersion::parse(doc["apiVersion"].as_string());
      const api::Resource* r = api::find_kind(gv->group, gv->version, doc["kind"].as_string());
      if (r == nullptr) return "error: unknown kind\n";
      api::apply_defaults(*r, doc);
      std::string ns = doc["metadata"]["namespace"].as_string();
      if (r->namespaced && ns.empty()) ns = "default";
      out += outcome(api_.create_now(ref_of(std::string(r->plural)).in(ns), std::move(doc)));
    }
    loop_.run();
    return out;
  }

  // As the API server patches: defaults are filled in again.
  std::string patch(const client::Ref& ref, const std::string& body) {
    auto document = api::parse_yaml(body);
    if (!document) return outcome(document);
    const ObjectPtr present = api_.find(ref);
    if (!present) return "error: nothing there\n";
    Value next = present->root();
    api::merge_patch(next, *document);
    if (ref.subresource.empty()) {
      api::apply_defaults(*api::find_resource(ref.group, ref.version, ref.resource), next);
    }
    const std::string out = outcome(api_.update_now(ref, std::move(next)));
    loop_.run();
    return out;
  }

  std::string remove(const Words& words) {
    client::DeleteOptions options;
    const std::string policy = words.size() > 3 ? words[3] : "background";
    if (policy == "background") options.propagation_policy = "Background";
    if (policy == "foreground") options.propagation_policy = "Foreground";
    if (policy == "orphan") options.propagation_policy = "Orphan";
    if (policy == "now") options.grace_period_seconds = 0;
    const std::string out = outcome(api_.remove_now(object_ref(words), options));
    loop_.run();
    return out;
  }

  std::string ready(const std::string& count, bool wanted) {
    std::vector<ObjectPtr> pods;
    for (const ObjectPtr& pod : api_.all(client::resources::kPods)) {
      if (controllers::pod_active(pod->root()) && controllers::pod_ready(pod->root()) != wanted) {
        pods.push_back(pod);
      }
    }
    std::ranges::stable_sort(pods, {},
                             [](const ObjectPtr& p) { return controllers::created_at(*p); });
    if (count != "all")
      pods.resize(std::min(pods.size(), static_cast<std::size_t>(std::stoll(count))));
    for (const ObjectPtr& pod : pods) {
      Value status = (*pod)["status"];
      status.set("phase", "Running");
      if (status["podIP"].is_null()) {
        const std::string ip = "10.0.0." + std::to_string(++last_ip_);
        status.set("podIP", ip);
        status.member("podIPs").push_back(Value::object({{"ip", ip}}));
      }
      controllers::set_condition(
          status, controllers::make_condition("Ready", wanted ? "True" : "False", "", "",
                                              loop_.clock.wall()));
      const Value patch = Value::object({{"status", std::move(status)}});
      (void)api_.patch_now(client::resources::kPods.at(pod->key()).sub("status"), patch);
    }
    loop_.run();
    return "";
  }

  std::string reap() {
    client::DeleteOptions options;
    options.grace_period_seconds = 0;
    for (const ObjectPtr& pod : api_.all(client::resources::kPods)) {
      if (!pod->deleting()) continue;
      Value patch;
      patch.member("metadata").set("deletionGracePeriodSeconds", 0);
      (void)api_.remove_now(client::resources::kPods.at(pod->key()), options);
    }
    loop_.run();
    return "";
  }

  std::string lease(const std::string& node) {
    const client::Ref ref = client::resources::kLeases.at("kube-node-lease", node);
    Value spec = Value::object({{"renewTime", format_micro_time(loop_.clock.wall())}});
    const Value doc = Value::object({{"apiVersion", "coordination.k8s.io/v1"},
                                     {"kind", "Lease"},
                                     {"metadata", Value::object({{"name", node}})},
                                     {"spec", std::move(spec)}});
    const bool there = api_.find(ref) != nullptr;
    const std::string out =
        outcome(there ? api_.patch_now(ref, doc) : api_.create_now(ref.at(ref.ns, ""), doc));
    loop_.run();
    return out;
  }

  std::string refuse(const Words& words) {
    api_.refuse = nullptr;
    if (words.at(1) == "none") return "";
    std::string message;
    for (std::size_t i = 3; i < words.size(); ++i) message += (i > 3 ? " " : "") + words[i];
    api_.refuse = [verb = words.at(1), resource = words.at(2), message](
                      std::string_view v, const client::Ref& ref) -> std::optional<Error> {
      if (v != verb || ref.resource != resource) return std::nullopt;
      return Error{Code::forbidden, message};
    };
    return "";
  }

  std::string show(const Words& words) {
    std::string out;
    for (const ObjectPtr& object : api_.all(ref_of(words.at(1)))) {
      out += object->key().to_string();
      for (std::size_t i = 2; i < words.size(); ++i) {
        const auto dot = words[i].rfind('=');
        const std::string path = dot == std::string::npos ? words[i] : words[i].substr(dot + 1);
        const std::string label =
            dot == std::string::npos ? path.substr(path.rfind('.') + 1) : words[i].substr(0, dot);
        out += " " + label + "=" + field_of(object->root(), path);
      }
      out += "\n";
    }
    return out.empty() ? "nothing\n" : out;
  }

  std::string events() {
    loop_.run(1s);
    std::multimap<std::string, std::string> fresh;
    for (const ObjectPtr& e : api_.all(client::resources::kEvents)) {
      const Value& r = e->root();
      const std::string id =
          e->key().to_string() + r["count"].as_string() + api::to_json(r["count"]);
      if (!seen_.insert(id).second) continue;
      fresh.emplace(e->resource_version().size() < 9
                        ? std::string(9 - e->resource_version().size(), '0') + e->resource_version()
                        : e->resource_version(),
                    r["type"].as_string() + " " + r["reason"].as_string() + " " +
                        r["involvedObject"]["kind"].as_string() + "/" +
                        r["involvedObject"]["name"].as_string() + " x" + api::to_json(r["count"]) +
                        ": " + r["message"].as_string());
    }
    std::string out;
    for (const auto& [revision, line] : fresh) out += line + "\n";
    return out.empty() ? "nothing\n" : out;
  }

  std::string writes() {
    const std::string out = std::to_string(api_.writes - writes_) + " writes, " +
                            std::to_string(api_.batches - batches_) + " batches\n";
    writes_ = api_.writes;
    batches_ = api_.batches;
    return out;
  }

  Loop loop_;
  FakeClient api_{loop_.env};
  client::InformerFactory informers_;
  controllers::Controllers controllers_;
  Tasks tasks_{loop_};
  int last_ip_ = 0;
  std::set<std::string> seen_;
  std::size_t writes_ = 0;
  std::size_t batches_ = 0;
};

Words split(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

}  // namespace

std::string run_script(const std::string& text) {
  World world;
  std::istringstream in(text);
  std::string out;
  std::string line;
  while (std::getline(in, line)) {
    if (line.empty() || line.starts_with('#')) {
      out += line + "\n";
      continue;
    }
    const Words words = split(line);
    std::string body;
    out += line + "\n";
    while (std::getline(in, line) && line != "----") body += line + "\n";
    out += body + "----\n" + world.run(words, body);
    while (std::getline(in, line) && !line.empty()) {
    }
    out += "\n";
  }
  return out;
}

}  // namespace skiff::test
