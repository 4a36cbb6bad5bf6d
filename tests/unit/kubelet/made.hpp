// Pods from a few lines of YAML, and what the runtime says of them in a few words.
#pragma once

#include <sstream>
#include <string>

#include "plan.hpp"

namespace skiff::kubelet::made {

inline api::Value yaml(const std::string& text) { return api::parse_yaml(text).value(); }

// default/web with uid "u1".
inline api::Value pod(const std::string& spec, const std::string& metadata = "{}") {
  api::Value pod = api::Value::object({{"apiVersion", "v1"}, {"kind", "Pod"}});
  api::Value meta = yaml(metadata);
  meta.set("name", "web");
  meta.set("namespace", "default");
  meta.set("uid", "u1");
  pod.set("metadata", std::move(meta));
  pod.set("spec", yaml(spec));
  return pod;
}

inline runtime::ContainerStatus ended(const std::string& name, int code, std::string id = "") {
  runtime::ContainerStatus s;
  s.id = id.empty() ? "id-" + name : std::move(id);
  s.config.name = name;
  s.state = runtime::ContainerState::exited;
  s.exit_code = code;
  return s;
}

inline runtime::ContainerStatus running(const std::string& name) {
  runtime::ContainerStatus s = ended(name, 0);
  s.state = runtime::ContainerState::running;
  return s;
}

// "a=run b=0 c=1 d=made": running and healthy, exited with a code, created. "a=starting": its
// startup probe has not succeeded; "a=unready"; "a=sick": a probe gave up.
inline Observed seen(const std::string& words, bool sandbox_ready = true) {
  Observed out;
  out.sandbox_ready = sandbox_ready;
  out.sandbox_existed = sandbox_ready || !words.empty();
  std::istringstream in(words);
  for (std::string word; in >> word;) {
    const std::string name = word.substr(0, word.find('='));
    const std::string state = word.substr(word.find('=') + 1);
    if (std::isdigit(static_cast<unsigned char>(state[0])) != 0) {
      out.containers[name] = ended(name, std::stoi(state));
      continue;
    }
    out.containers[name] = running(name);
    if (state == "made") {
      out.containers[name].state = runtime::ContainerState::created;
      continue;
    }
    Health health{true, true, ""};
    if (state == "starting") health = {false, false, ""};
    if (state == "unready") health.ready = false;
    if (state == "sick") health.kill_reason = "sick";
    out.health[name] = health;
  }
  return out;
}

}  // namespace skiff::kubelet::made
