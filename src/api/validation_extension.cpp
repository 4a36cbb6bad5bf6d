// Kinds that extend the API: custom resources, aggregated APIs, webhooks; and certificate requests.
#include <set>

#include "validation.hpp"

namespace skiff::api {
namespace {

void validate_crd_versions(FieldErrors& errors, const Value& versions) {
  if (versions.empty()) return errors.required("spec.versions", "must have at least one version");
  std::size_t stored = 0, index = 0;
  std::set<std::string_view> names;
  for (const Value& v : versions.items()) {
    Path here = at("spec.versions", index++);
    const Value& name = v["name"];
    if (!name.as_string().empty())
      check_text(errors, child(here, "name"), name, dns1035_label_errors);
    if (!names.insert(name.as_string()).second)
      errors.invalid("spec.versions", name, "must contain unique version names");
    if (v["storage"].as_bool()) ++stored;
    if (!v["schema"]["openAPIV3Schema"].is_object())
      errors.required(child(here, "schema.openAPIV3Schema"), "schemas are required");
    else if (v["schema"]["openAPIV3Schema"]["type"].as_string() != "object")
      errors.required(child(here, "schema.openAPIV3Schema.type"), "must not be empty at the root");
  }
  if (stored != 1)
    errors.invalid("spec.versions", versions,
                   "must have exactly one version marked as storage version");
}

void validate_crd_names(FieldErrors& errors, const Value& names) {
  for (const char* field : {"plural", "singular"})
    if (!names[field].as_string().empty())
      check_text(errors, child("spec.names", field), names[field], dns1035_label_errors);
  for (const char* field : {"kind", "listKind"}) {
    std::string lower = names[field].as_string();
    for (char& c : lower)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!lower.empty())
      complain(errors, child("spec.names", field), names[field], dns1035_label_errors(lower));
  }
  const Value& kind = names["kind"];
  if (!kind.as_string().empty() && kind == names["listKind"])
    errors.invalid("spec.names.listKind", names["listKind"],
                   "kind and listKind may not be the same");
  for (const char* list : {"shortNames", "categories"}) {
    std::size_t index = 0;
    for (const Value& name : names[list].items())
      check_text(errors, at(child("spec.names", list), index++), name, dns1035_label_errors);
  }
}

void check_crd(const Subject& s) {
  const Value& spec = s.doc["spec"];
  const Value& group = spec["group"];
  if (!group.as_string().empty()) {
    check_text(s.errors, "spec.group", group, dns1123_subdomain_errors);
    if (group.as_string().find('.') == std::string::npos)
      s.errors.invalid("spec.group", group, "should be a domain with at least one dot");
  }
  std::string wanted = spec["names"]["plural"].as_string() + "." + group.as_string();
  if (s.doc["metadata"]["name"].as_string() != wanted)
    s.errors.invalid("metadata.name", s.doc["metadata"]["name"],
                     "must be spec.names.plural+\".\"+spec.group");
  validate_crd_versions(s.errors, spec["versions"]);
  validate_crd_names(s.errors, spec["names"]);
  if (spec["preserveUnknownFields"].as_bool())
    s.errors.invalid("spec.preserveUnknownFields", true,
                     "must be false in order to use defaults in the schema");
  if (!s.old) return;
  for (const char* field : {"group", "scope"})
    check_immutable(s.errors, child("spec", field), spec[field], s.before()["spec"][field]);
  for (const char* field : {"plural", "kind"})
    check_immutable(s.errors, child("spec.names", field), spec["names"][field],
                    s.before()["spec"]["names"][field]);
}

void check_api_service(const Subject& s) {
  const Value& spec = s.doc["spec"];
  std::string wanted = spec["version"].as_string() + "." + spec["group"].as_string();
  if (s.doc["metadata"]["name"].as_string() != wanted)
    s.errors.invalid("metadata.name", s.doc["metadata"]["name"],
                     "must be `spec.version+\".\"+spec.group`: \"" + wanted + "\"");
  if (spec["version"].as_string().empty())
    s.errors.required("spec.version");
  else
    check_text(s.errors, "spec.version", spec["version"], dns1035_label_errors);
  std::int64_t group_priority = spec["groupPriorityMinimum"].as_int();
  if (group_priority <= 0 || group_priority > 20000)
    s.errors.invalid("spec.groupPriorityMinimum", spec["groupPriorityMinimum"],
                     "must be positive and less than 20000");
  std::int64_t version_priority = spec["versionPriority"].as_int();
  if (version_priority <= 0 || version_priority > 1000)
    s.errors.invalid("spec.versionPriority", spec["versionPriority"],
                     "must be positive and less than 1000");
  if (!spec["service"].is_object()) return;
  for (const char* field : {"namespace", "name"})
    if (spec["service"][field].as_string().empty()) s.errors.required(child("spec.service", field));
  if (spec["insecureSkipTLSVerify"].as_bool() && !spec["caBundle"].as_string().empty())
    s.errors.invalid("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present");
}

void validate_webhook_client(FieldErrors& errors, const Path& path, const Value& config) {
  bool url = !config["url"].is_null();
  bool service = config["service"].is_object();
  if (url == service) return errors.required(path, "exactly one of url or service is required");
  if (url && !config["url"].as_string().starts_with("https://"))
    errors.invalid(child(path, "url"), config["url"],
                   "'https' is the only allowed URL scheme; desired format: https://host[/path]");
}

void validate_webhook_rules(FieldErrors& errors, const Path& path, const Value& rules) {
  std::size_t index = 0;
  for (const Value& rule : rules.items()) {
    Path here = at(path, index++);
    for (const char* list : {"operations", "apiGroups", "apiVersions", "resources"}) {
      const Value& values = rule[list];
      if (values.empty()) errors.required(child(here, list));
      bool star = false;
      for (const Value& v : values.items()) star = star || v.as_string() == "*";
      if (star && values.size() > 1 && std::string_view(list) != "resources")
        errors.invalid(child(here, list), values,
                       std::string("if '*' is present, must not specify other ") +
                           (std::string_view(list) == "apiGroups"     ? "API groups"
                            : std::string_view(list) == "apiVersions" ? "API versions"
                                                                      : "operations"));
    }
  }
}

void check_webhooks(const Subject& s) {
  std::set<std::string_view> names;
  std::size_t index = 0;
  for (const Value& hook : s.doc["webhooks"].items()) {
    Path here = at("webhooks", index++);
    const Value& name = hook["name"];
    const std::string& text = name.as_string();
    if (!text.empty()) {
      check_text(s.errors, child(here, "name"), name, dns1123_subdomain_errors);
      if (text.find('.') == text.rfind('.'))
        s.errors.invalid(child(here, "name"), name,
                         "should be a domain with at least three segments separated by dots");
      if (!names.insert(text).second) s.errors.duplicate(child(here, "name"), name);
    }
    validate_webhook_client(s.errors, child(here, "clientConfig"), hook["clientConfig"]);
    validate_webhook_rules(s.errors, child(here, "rules"), hook["rules"]);
  }
}

void check_signing_request(const Subject& s) {
  const Value& spec = s.doc["spec"];
  if (spec["usages"].empty()) s.errors.required("spec.usages");
  const Value& seconds = spec["expirationSeconds"];
  if (!seconds.is_null() && seconds.as_int() < 600)
    s.errors.invalid("spec.expirationSeconds", seconds,
                     "may not specify a duration less than 600 seconds (10 minutes)");
  const std::string& signer = spec["signerName"].as_string();
  auto slash = signer.find('/');
  if (!signer.empty() && (slash == std::string::npos || slash == 0 || slash + 1 == signer.size()))
    s.errors.invalid("spec.signerName", spec["signerName"],
                     "must be a fully qualified domain and path of the form "
                     "'example.com/signer-name'");
}

void check_priority_level(const Subject& s) {
  const Value& spec = s.doc["spec"];
  const std::string& type = spec["type"].as_string();
  if (type == "Exempt" && spec["limited"].is_object())
    s.errors.forbidden("spec.limited", "must be nil if the type is not Limited");
  if (type == "Limited" && !spec["limited"].is_object())
    s.errors.required("spec.limited", "must not be empty when type is Limited");
  if (type == "Limited" && spec["exempt"].is_object())
    s.errors.forbidden("spec.exempt", "must be nil if the type is Limited");
}

constexpr KindRule kRules[] = {
    {"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
     check_crd},
    {"io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService", check_api_service},
    {"io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration", check_webhooks},
    {"io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration", check_webhooks},
    {"io.k8s.api.certificates.v1.CertificateSigningRequest", check_signing_request},
    {"io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration", check_priority_level},
};

}  // namespace

std::span<const KindRule> extension_rules() { return kRules; }

}  // namespace skiff::api
