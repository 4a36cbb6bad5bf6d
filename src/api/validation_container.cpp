// Containers of every sort: regular, init, sidecar, ephemeral.
#include <algorithm>
#include <set>

#include "validation.hpp"

namespace skiff::api {
namespace {

struct ContainerContext {
  const Value& spec;
  bool ephemeral = false;
};

void validate_ports(FieldErrors& errors, const Path& path, const Value& ports) {
  std::set<std::string_view> names;
  std::size_t index = 0;
  for (const Value& p : ports.items()) {
    Path here = at(path, index++);
    if (const std::string& name = p["name"].as_string(); !name.empty()) {
      complain(errors, child(here, "name"), p["name"], port_name_errors(name));
      if (!names.insert(name).second) errors.duplicate(child(here, "name"), p["name"]);
    }
    if (p["containerPort"].as_int() == 0)
      errors.required(child(here, "containerPort"));
    else
      complain(errors, child(here, "containerPort"), p["containerPort"],
               port_number_errors(p["containerPort"].as_int()));
    if (p["hostPort"].as_int() != 0)
      complain(errors, child(here, "hostPort"), p["hostPort"],
               port_number_errors(p["hostPort"].as_int()));
  }
}

const Value* named(const Value& list, const std::string& name) {
  for (const Value& v : list.items())
    if (v["name"].as_string() == name) return &v;
  return nullptr;
}

void validate_mount(FieldErrors& errors, const Path& here, const Value& m, const Value& container,
                    const ContainerContext& context) {
  const std::string& name = m["name"].as_string();
  if (!name.empty() && !named(context.spec["volumes"], name))
    errors.not_found(child(here, "name"), m["name"]);
  for (const Value& d : container["volumeDevices"].items()) {
    if (d["name"].as_string() == name && !name.empty())
      errors.invalid(child(here, "name"), m["name"], "must not already exist in volumeDevices");
    if (d["devicePath"].as_string() == m["mountPath"].as_string())
      errors.invalid(child(here, "mountPath"), m["mountPath"],
                     "must not already exist as a path in volumeDevices");
  }
  const Value& sub = m["subPath"];
  const Value& expression = m["subPathExpr"];
  if (context.ephemeral) {
    for (const char* field : {"subPath", "subPathExpr"})
      if (!m[field].as_string().empty())
        errors.forbidden(child(here, field), "cannot be set for an Ephemeral Container");
  }
  check_relative_path(errors, child(here, "subPath"), sub);
  if (!expression.as_string().empty()) {
    if (!sub.as_string().empty())
      errors.invalid(child(here, "subPathExpr"), expression,
                     "subPathExpr and subPath are mutually exclusive");
    check_relative_path(errors, child(here, "subPathExpr"), expression);
  }
  if (m["mountPropagation"].as_string() == "Bidirectional" &&
      !container["securityContext"]["privileged"].as_bool())
    errors.forbidden(child(here, "mountPropagation"),
                     "Bidirectional mount propagation is available only to privileged containers");
}

void validate_mounts(FieldErrors& errors, const Path& path, const Value& container,
                     const ContainerContext& context) {
  std::set<std::string_view> paths;
  std::size_t index = 0;
  for (const Value& m : container["volumeMounts"].items()) {
    Path here = at(child(path, "volumeMounts"), index++);
    const std::string& mount = m["mountPath"].as_string();
    if (!mount.empty() && !paths.insert(mount).second)
      errors.invalid(child(here, "mountPath"), m["mountPath"], "must be unique");
    validate_mount(errors, here, m, container, context);
  }
  index = 0;
  for (const Value& d : container["volumeDevices"].items()) {
    Path here = at(child(path, "volumeDevices"), index++);
    const std::string& name = d["name"].as_string();
    const Value* volume = named(context.spec["volumes"], name);
    if (name.empty()) continue;
    if (!volume)
      errors.not_found(child(here, "name"), d["name"]);
    else if (!volume->has("persistentVolumeClaim") && !volume->has("ephemeral"))
      errors.invalid(child(here, "name"), d["name"],
                     "can only use volume source type of PersistentVolumeClaim or Ephemeral for "
                     "block mode");
  }
}

void validate_port_value(FieldErrors& errors, const Path& path, const Value& port) {
  complain(
      errors, path, port,
      port.is_string() ? port_name_errors(port.as_string()) : port_number_errors(port.as_int()));
}

// Exactly one of exec, httpGet, tcpSocket, grpc, sleep.
void validate_handler(FieldErrors& errors, const Path& path, const Value& handler) {
  std::size_t count = 0;
  for (const char* name : {"exec", "httpGet", "tcpSocket", "grpc", "sleep"}) {
    const Value& action = handler[name];
    if (!action.is_object()) continue;
    const Path here = child(path, name);
    if (++count > 1) {
      errors.forbidden(here, "may not specify more than 1 handler type");
      continue;
    }
    std::string_view kind = name;
    if (kind == "exec" && action["command"].empty()) errors.required(child(here, "command"));
    if (kind == "httpGet" || kind == "tcpSocket")
      validate_port_value(errors, child(here, "port"), action["port"]);
    if (kind == "grpc")
      complain(errors, child(here, "port"), action["port"],
               port_number_errors(action["port"].as_int()));
    std::size_t index = 0;
    for (const Value& header : action["httpHeaders"].items()) {
      Path header_path = child(at(child(here, "httpHeaders"), index++), "name");
      if (!header["name"].as_string().empty())
        check_text(errors, header_path, header["name"], http_header_errors);
    }
  }
  if (count == 0) errors.required(path, "must specify a handler type");
}

void validate_probe(FieldErrors& errors, const Path& path, const Value& container,
                    std::string_view name) {
  const Value& probe = container[name];
  if (!probe.is_object()) return;
  const Path here = child(path, name);
  validate_handler(errors, here, probe);
  const Value& grace = probe["terminationGracePeriodSeconds"];
  const Path grace_path = child(here, "terminationGracePeriodSeconds");
  if (name == "readinessProbe") {
    if (!grace.is_null()) errors.invalid(grace_path, grace, "must not be set for readinessProbes");
    return;
  }
  if (!grace.is_null() && grace.as_int() <= 0)
    errors.invalid(grace_path, grace, "must be greater than 0");
  if (probe["successThreshold"].as_int(1) != 1)
    errors.invalid(child(here, "successThreshold"), probe["successThreshold"], "must be 1");
}

void validate_probes_and_hooks(FieldErrors& errors, const Path& path, const Value& c) {
  for (const char* name : {"postStart", "preStop"})
    if (c["lifecycle"][name].is_object())
      validate_handler(errors, child(child(path, "lifecycle"), name), c["lifecycle"][name]);
  for (const char* name : {"livenessProbe", "readinessProbe", "startupProbe"})
    validate_probe(errors, path, c, name);
}

void validate_profile(FieldErrors& errors, const Path& path, const Value& profile,
                      const char* what) {
  if (!profile.is_object()) return;
  const Path here = child(path, "localhostProfile");
  const Value& local = profile["localhostProfile"];
  if (profile["type"].as_string() == "Localhost") {
    if (local.as_string().empty())
      errors.required(here, std::string("must be set when ") + what + " type is Localhost");
    else if (std::string_view(what) == "seccomp")
      check_relative_path(errors, here, local);
  } else if (!local.is_null()) {
    errors.invalid(here, local, std::string("can only be set when ") + what + " type is Localhost");
  }
}

void validate_security(FieldErrors& errors, const Path& path, const Value& context) {
  if (!context.is_object()) return;
  validate_profile(errors, child(path, "seccompProfile"), context["seccompProfile"], "seccomp");
  validate_profile(errors, child(path, "appArmorProfile"), context["appArmorProfile"], "AppArmor");
  const Value& escalation = context["allowPrivilegeEscalation"];
  if (escalation.is_null() || escalation.as_bool()) return;
  if (context["privileged"].as_bool())
    errors.invalid(path, context,
                   "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
  for (const Value& capability : context["capabilities"]["add"].items())
    if (capability.as_string() == "CAP_SYS_ADMIN")
      errors.invalid(path, context,
                     "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` "
                     "CAP_SYS_ADMIN");
}

void validate_common(FieldErrors& errors, const Path& path, const Value& c,
                     const ContainerContext& context) {
  if (c["image"].as_string().empty()) errors.required(child(path, "image"));
  validate_ports(errors, child(path, "ports"), c["ports"]);
  validate_env(errors, path, c);
  validate_mounts(errors, path, c, context);
  validate_resources(errors, child(path, "resources"), c["resources"]);
  validate_security(errors, child(path, "securityContext"), c["securityContext"]);
  if (!c["restartPolicyRules"].empty() && c["restartPolicy"].is_null())
    errors.required(child(path, "restartPolicy"),
                    "must specify restartPolicy when restart rules are used");
}

void validate_host_ports(FieldErrors& errors, const Path& path, const Value& containers) {
  std::set<std::string> taken;
  std::size_t i = 0;
  for (const Value& c : containers.items()) {
    Path ports = child(at(path, i++), "ports");
    std::size_t j = 0;
    for (const Value& p : c["ports"].items()) {
      Path here = at(ports, j++);
      if (p["hostPort"].as_int() == 0) continue;
      std::string use = p["protocol"].as_string() + "/" + p["hostIP"].as_string() + "/" +
                        std::to_string(p["hostPort"].as_int());
      if (!taken.insert(use).second) errors.duplicate(child(here, "hostPort"), use);
    }
  }
}

void validate_init_containers(FieldErrors& errors, const Path& path, const Value& spec,
                              std::set<std::string_view>& names) {
  std::size_t index = 0;
  for (const Value& c : spec["initContainers"].items()) {
    Path here = at(path, index++);
    validate_common(errors, here, c, {spec});
    const std::string& name = c["name"].as_string();
    if (!name.empty() && !names.insert(name).second)
      errors.duplicate(child(here, "name"), c["name"]);
    if (c["restartPolicy"].as_string() == "Always") {
      validate_probes_and_hooks(errors, here, c);
      continue;
    }
    for (const char* field : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"})
      if (c[field].is_object())
        errors.forbidden(child(here, field),
                         "may not be set for init containers without restartPolicy=Always");
  }
}

void validate_ephemeral_containers(FieldErrors& errors, const Path& path, const Value& spec,
                                   std::set<std::string_view>& names) {
  std::size_t index = 0;
  for (const Value& c : spec["ephemeralContainers"].items()) {
    Path here = at(path, index++);
    validate_common(errors, here, c, {spec, true});
    const std::string& name = c["name"].as_string();
    if (!name.empty() && !names.insert(name).second)
      errors.duplicate(child(here, "name"), c["name"]);
    const std::string& target = c["targetContainerName"].as_string();
    if (!target.empty() && !named(spec["containers"], target) &&
        !named(spec["initContainers"], target))
      errors.not_found(child(here, "targetContainerName"), c["targetContainerName"]);
    for (const char* field : {"ports", "livenessProbe", "readinessProbe", "startupProbe",
                              "lifecycle", "resources", "restartPolicy"})
      if (c[field].is_string() || !c[field].empty())
        errors.forbidden(child(here, field), "cannot be set for an Ephemeral Container");
  }
}

}  // namespace

void validate_containers(FieldErrors& errors, const Path& path, const Value& spec,
                         const PodContext&) {
  const Path containers = child(path, "containers");
  if (spec["containers"].empty()) errors.required(containers);
  std::set<std::string_view> names;
  std::size_t index = 0;
  for (const Value& c : spec["containers"].items()) {
    Path here = at(containers, index++);
    validate_common(errors, here, c, {spec});
    const std::string& name = c["name"].as_string();
    if (!name.empty() && !names.insert(name).second)
      errors.duplicate(child(here, "name"), c["name"]);
    validate_probes_and_hooks(errors, here, c);
  }
  validate_host_ports(errors, containers, spec["containers"]);
  validate_init_containers(errors, child(path, "initContainers"), spec, names);
  validate_ephemeral_containers(errors, child(path, "ephemeralContainers"), spec, names);
}

}  // namespace skiff::api
