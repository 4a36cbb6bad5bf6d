#include "environment.hpp"

#include <algorithm>
#include <cctype>

#include "base64.hpp"
#include "skiff/api/quantity.hpp"

namespace skiff::kubelet {
namespace {

using client::resources::kConfigMaps;
using client::resources::kSecrets;

Error invalid(std::string message) { return {Code::invalid, std::move(message)}; }

void put(Environment& env, const std::string& name, std::string value) {
  for (auto& [n, v] : env) {
    if (n == name) {
      v = std::move(value);
      return;
    }
  }
  env.emplace_back(name, std::move(value));
}

std::string upper_name(const std::string& service) {
  std::string out = service;
  for (char& c : out) {
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

// {SVC}_SERVICE_HOST and the variables of Docker's old links, as every kubelet still sets them.
void add_service(Environment& env, const Value& service) {
  const std::string& ip = service["spec"]["clusterIP"].as_string();
  if (ip.empty() || ip == "None") return;
  const std::string prefix = upper_name(service["metadata"]["name"].as_string());
  const auto ports = service["spec"]["ports"].items();
  put(env, prefix + "_SERVICE_HOST", ip);
  if (ports.empty()) return;
  const auto number = [](const Value& p) { return std::to_string(p["port"].as_int()); };
  put(env, prefix + "_SERVICE_PORT", number(ports[0]));
  for (const Value& p : ports) {
    if (!p["name"].as_string().empty()) {
      put(env, prefix + "_SERVICE_PORT_" + upper_name(p["name"].as_string()), number(p));
    }
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    std::string protocol(ports[i]["protocol"].as_string_or("TCP"));
    std::string lower = protocol;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::string url = lower + "://" + ip + ":" + number(ports[i]);
    const std::string port_prefix = prefix + "_PORT_" + number(ports[i]) + "_" + protocol;
    if (i == 0) put(env, prefix + "_PORT", url);
    put(env, port_prefix, url);
    put(env, port_prefix + "_PROTO", lower);
    put(env, port_prefix + "_PORT", number(ports[i]));
    put(env, port_prefix + "_ADDR", ip);
  }
}

void add_services(Environment& env, const Value& pod, const EnvironmentSources& sources) {
  const bool links = pod["spec"]["enableServiceLinks"].as_bool(true);
  const std::string& ns = pod["metadata"]["namespace"].as_string();
  for (const ObjectPtr& service : sources.services) {
    const bool is_api = service->ns() == "default" && service->name() == "kubernetes";
    if (is_api || (links && service->ns() == ns)) add_service(env, service->root());
  }
}

// An entry as text: ConfigMaps' as they are, Secrets' decoded. (Items of a list do not name their
// kind, so the object cannot be asked.)
std::string entry_text(bool secret, const Value& entry) {
  return secret ? decode_base64(entry.as_string()) : entry.as_string();
}

bool is_env_name(std::string_view name) {
  return !name.empty() && name.find('=') == std::string_view::npos;
}

Task<Result<void>> add_from(Environment* env, const Value* source, std::string ns,
                            ObjectWatches* objects) {
  for (const char* kind : {"configMapRef", "secretRef"}) {
    const Value& ref = (*source)[kind];
    if (!ref.is_object()) continue;
    const client::Ref target =
        (kind[0] == 's' ? kSecrets : kConfigMaps).at(ns, ref["name"].as_string());
    Result<ObjectPtr> object = co_await objects->get(target);
    if (!object) {
      if (ref["optional"].as_bool() && object.error().code == Code::not_found) continue;
      co_return invalid(object.error().message);
    }
    const std::string& prefix = (*source)["prefix"].as_string();
    for (const auto& [name, value] : (**object)["data"].members()) {
      const std::string full = prefix + std::string(name);
      if (is_env_name(full)) put(*env, full, entry_text(kind[0] == 's', value));
    }
  }
  co_return Result<void>();
}

// configMapKeyRef and secretKeyRef; an absent optional one leaves the variable undefined.
Task<Result<std::optional<std::string>>> key_value(const Value* ref, bool secret, std::string ns,
                                                   ObjectWatches* objects) {
  const std::string& name = (*ref)["name"].as_string();
  const std::string& key = (*ref)["key"].as_string();
  const bool optional = (*ref)["optional"].as_bool();
  const client::Ref target = (secret ? kSecrets : kConfigMaps).at(ns, name);
  Result<ObjectPtr> object = co_await objects->get(target);
  if (!object) {
    if (optional && object.error().code == Code::not_found) co_return std::optional<std::string>();
    co_return invalid(object.error().message);
  }
  if (const Value* value = (**object)["data"].find(key)) {
    co_return std::optional<std::string>(entry_text(secret, *value));
  }
  if (optional) co_return std::optional<std::string>();
  co_return invalid("couldn't find key " + key + " in " + (secret ? "Secret " : "ConfigMap ") + ns +
                    "/" + name);
}

// metadata.labels['key'] -> key; empty when `path` has no subscript.
std::string subscript(const std::string& path, std::string_view prefix) {
  if (path.size() < prefix.size() + 4 || path.compare(0, prefix.size(), prefix) != 0) return "";
  return path.substr(prefix.size() + 2, path.size() - prefix.size() - 4);
}

std::string map_text(const Value& map) {
  std::vector<std::string> lines;
  for (const auto& [k, v] : map.members()) {
    lines.push_back(std::string(k) + "=" + api::to_json(v));
  }
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) out += (out.empty() ? "" : "\n") + line;
  return out;
}

}  // namespace

Result<std::string> downward_field(const Value& pod, const std::string& path,
                                   const EnvironmentSources& sources) {
  const Value& m = pod["metadata"];
  if (path == "metadata.name") return m["name"].as_string();
  if (path == "metadata.namespace") return m["namespace"].as_string();
  if (path == "metadata.uid") return m["uid"].as_string();
  if (path == "metadata.labels") return map_text(m["labels"]);
  if (path == "metadata.annotations") return map_text(m["annotations"]);
  if (path == "spec.nodeName") return pod["spec"]["nodeName"].as_string();
  if (path == "spec.serviceAccountName") return pod["spec"]["serviceAccountName"].as_string();
  if (path == "status.podIP" || path == "status.podIPs") return sources.pod_ip;
  if (path == "status.hostIP" || path == "status.hostIPs") return sources.host_ip;
  if (const std::string key = subscript(path, "metadata.labels"); !key.empty()) {
    return m["labels"][key].as_string();
  }
  if (const std::string key = subscript(path, "metadata.annotations"); !key.empty()) {
    return m["annotations"][key].as_string();
  }
  return invalid("unsupported fieldPath: " + path);
}

Result<std::string> downward_resource(const Value& pod, const std::string& container,
                                      const Value& reference, const EnvironmentSources& sources) {
  const std::string& resource = reference["resource"].as_string();
  const std::string& name = reference["containerName"].as_string();
  const Value* c = find_container(pod, name.empty() ? container : name);
  if (c == nullptr) return invalid("container " + name + " not found");
  const std::size_t dot = resource.find('.');
  const std::string kind = resource.substr(0, dot);
  const std::string what = dot == std::string::npos ? "" : resource.substr(dot + 1);
  if ((kind != "limits" && kind != "requests") || what.empty()) {
    return invalid("unsupported container resource : " + resource);
  }
  std::string text = (*c)["resources"][kind][what].as_string();
  if (text.empty() && kind == "limits") {
    const auto it = sources.node_allocatable.find(what);
    if (it != sources.node_allocatable.end()) text = it->second;
  }
  SKIFF_TRY(const auto quantity, api::Quantity::parse(text.empty() ? "0" : text));
  const std::string& given = reference["divisor"].as_string();
  SKIFF_TRY(const auto divisor, api::Quantity::parse(given.empty() || given == "0" ? "1" : given));
  const std::int64_t by = std::max<std::int64_t>(1, divisor.milli_value());
  if (what == "cpu") {
    return std::to_string((quantity.milli_value() + by - 1) / by);
  }
  const std::int64_t unit = std::max<std::int64_t>(1, divisor.value());
  return std::to_string((quantity.value() + unit - 1) / unit);
}

std::string expand(std::string_view text, const Environment& environment) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 >= text.size()) {
      out += text[i];
      continue;
    }
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const std::size_t end = text[i + 1] == '(' ? text.find(')', i) : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += '$';
      continue;
    }
    const std::string_view name = text.substr(i + 2, end - i - 2);
    const auto it = std::find_if(environment.begin(), environment.end(),
                                 [&](const auto& e) { return e.first == name; });
    out += it != environment.end() ? std::string_view(it->second) : text.substr(i, end - i + 1);
    i = end;
  }
  return out;
}

Task<Result<Environment>> make_environment(ObjectPtr pod, std::string container,
                                           EnvironmentSources sources, ObjectWatches* objects) {
  const Value& root = pod->root();
  const Value* spec = find_container(root, container);
  if (spec == nullptr) co_return invalid("container " + container + " not found");
  Environment env;
  // What the services give may be used in $(NAME) and overridden by the container's own.
  add_services(env, root, sources);
  for (const Value& source : (*spec)["envFrom"].items()) {
    SKIFF_CO_CHECK(co_await add_from(&env, &source, pod->ns(), objects));
  }
  for (const Value& e : (*spec)["env"].items()) {
    const std::string& name = e["name"].as_string();
    const Value& from = e["valueFrom"];
    if (!from.is_object()) {
      put(env, name, expand(e["value"].as_string(), env));
    } else if (from.has("fieldRef")) {
      SKIFF_CO_TRY(auto text,
                   downward_field(root, from["fieldRef"]["fieldPath"].as_string(), sources));
      put(env, name, std::move(text));
    } else if (from.has("resourceFieldRef")) {
      SKIFF_CO_TRY(auto text,
                   downward_resource(root, container, from["resourceFieldRef"], sources));
      put(env, name, std::move(text));
    } else {
      const bool secret = from.has("secretKeyRef");
      const Value* ref = &from[secret ? "secretKeyRef" : "configMapKeyRef"];
      if (!ref->is_object())
        co_return invalid("unsupported source of environment variable " + name);
      SKIFF_CO_TRY(auto text, co_await key_value(ref, secret, pod->ns(), objects));
      if (text) put(env, name, std::move(*text));
    }
  }
  co_return env;
}

}  // namespace skiff::kubelet
