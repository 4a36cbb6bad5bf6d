// Requests for resources that are answered in one piece.
#include "protobuf.hpp"
#include "service.hpp"
#include "skiff/api/codec.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;
using registry::FieldValidation;
using registry::Target;

Error method_not_allowed() {
  return {Code::method_not_allowed,
          "the server does not allow this method on the requested resource"};
}

Error options_error(std::string_view kind, const api::FieldErrors& problems) {
  return problems.to_error("meta.k8s.io", kind, "");
}

Result<bool> parse_dry_run(const http::Query& query, std::string_view kind) {
  bool dry = false;
  for (const std::string_view value : query.all("dryRun")) {
    if (value != "All") {
      api::FieldErrors problems;
      problems.not_supported("dryRun", Value::array({value}), {"All"});
      return options_error(kind, problems);
    }
    dry = true;
  }
  return dry;
}

// Printable, as Go's unicode.IsPrint sees ASCII; beyond it everything counts as printable.
bool printable(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; }

constexpr std::size_t kMaxManager = 128;

Result<FieldValidation> parse_validation(std::string_view text, std::string_view kind) {
  if (text.empty() || text == "Warn") return FieldValidation::warn;
  if (text == "Strict") return FieldValidation::strict;
  if (text == "Ignore") return FieldValidation::ignore;
  api::FieldErrors problems;
  problems.not_supported("fieldValidation", text, {"Ignore", "Strict", "Warn"});
  return options_error(kind, problems);
}

Result<std::int64_t> parse_number(std::string_view text, std::string_view name) {
  std::int64_t value = 0;
  if (text.empty()) return value;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Error{Code::bad_request, "strconv.ParseInt: parsing \"" + std::string(text) +
                                        "\": invalid syntax (" + std::string(name) + ")"};
  }
  return value;
}

Result<registry::ReadOptions> read_options(const http::Query& q) {
  registry::ReadOptions o;
  o.resource_version = q.get("resourceVersion");
  o.resource_version_match = q.get("resourceVersionMatch");
  o.label_selector = q.get("labelSelector");
  o.field_selector = q.get("fieldSelector");
  o.continue_token = q.get("continue");
  SKIFF_TRY(o.limit, parse_number(q.get("limit"), "limit"));
  return o;
}

Result<registry::DeleteOptions> delete_options(const http::Request& request, bool& dry_run) {
  Value document;
  if (!request.body.empty()) {
    std::vector<std::string> duplicates;
    SKIFF_TRY(document, parse_body(request, "DeleteOptions", &duplicates));
    dry_run = dry_run || !document["dryRun"].empty();
  } else {
    // Without a body the query carries the same.
    document = Value::object();
    const http::Query& q = request.query;
    if (const std::string* grace = q.find("gracePeriodSeconds")) {
      SKIFF_TRY(const std::int64_t seconds, parse_number(*grace, "gracePeriodSeconds"));
      document.set("gracePeriodSeconds", seconds);
    }
    if (const std::string* policy = q.find("propagationPolicy")) {
      document.set("propagationPolicy", *policy);
    }
    if (const std::string* orphan = q.find("orphanDependents")) {
      document.set("orphanDependents", *orphan == "true" || *orphan == "1");
    }
  }
  return registry::parse_delete_options(document);
}

Result<api::PatchType> patch_type(const http::Request& request) {
  std::string_view type = request.headers.get("Content-Type");
  type = type.substr(0, type.find(';'));
  if (type == "application/json-patch+json") return api::PatchType::json;
  if (type == "application/merge-patch+json") return api::PatchType::merge;
  if (type == "application/strategic-merge-patch+json") return api::PatchType::strategic;
  if (type == "application/apply-patch+yaml") return api::PatchType::apply;
  return Error{Code::unsupported_media,
               "the body of the request was in an unknown format - accepted media types include: "
               "application/json-patch+json, application/merge-patch+json, "
               "application/strategic-merge-patch+json"};
}

bool is_role_kind(const api::Resource& r) { return r.group == "rbac.authorization.k8s.io"; }

http::Response removed_status(const api::Resource& resource, const registry::ItemPtr& item) {
  const auto field = [&](std::string_view name) {
    return registry::scan::text(registry::scan::find(item->value, {"metadata", name}));
  };
  Value details = Value::object({{"name", field("name")}});
  if (!resource.group.empty()) details.set("group", resource.group);
  details.set("kind", resource.plural);
  details.set("uid", field("uid"));
  Value doc = Value::object({{"kind", "Status"}, {"apiVersion", "v1"}});
  doc.set("metadata", Value::object());
  doc.set("status", "Success");
  doc.set("details", std::move(details));
  http::Buffers body;
  body.emplace_back(api::to_json(doc));
  return http::Response::make(200, "application/json", std::move(body));
}

// Subresources that need a stream to the node.
bool needs_node(const Context& c) {
  static constexpr std::string_view kNames[] = {"exec", "attach", "portforward", "proxy"};
  return std::find(std::begin(kNames), std::end(kNames), c.info.subresource) != std::end(kNames);
}

}  // namespace

Result<std::string> manager_of(const http::Request& request, std::string_view options_kind) {
  std::string given(request.query.get("fieldManager"));
  api::FieldErrors problems;
  if (given.size() > kMaxManager) {
    problems.too_long("fieldManager", kMaxManager);
  } else if (!std::all_of(given.begin(), given.end(), printable)) {
    problems.invalid("fieldManager", given, "should only contain printable characters");
  }
  if (!problems.empty()) return options_error(options_kind, problems);
  if (!given.empty()) return given;
  std::string_view agent = request.headers.get("User-Agent");
  agent = agent.substr(0, agent.find('/'));
  std::string out;
  for (const char c : agent.substr(0, kMaxManager)) {
    if (printable(c)) out += c;
  }
  return out;
}

Result<Value> parse_body(const http::Request& request, std::string_view kind,
                         std::vector<std::string>* duplicates) {
  if (request.headers.get("Content-Type").starts_with("application/vnd.kubernetes.protobuf")) {
    return protobuf::parse_body(request.body);
  }
  SKIFF_TRY(const Encoding encoding, body_encoding(request));
  const bool json = encoding == Encoding::json;
  auto parsed = json ? api::parse_json(request.body, {}, duplicates)
                     : api::parse_yaml(request.body, {}, duplicates);
  for (std::string& d : *duplicates) {
    d = json ? "duplicate field \"" + d + "\"" : "yaml: unmarshal errors:\n  " + d;
  }
  if (parsed) return std::move(*parsed);
  if (parsed.error().code != Code::bad_request) return parsed.error();
  return Error{Code::bad_request,
               "the object provided is unrecognized (must be of type " + std::string(kind) +
                   "): couldn't get version/kind; json parse error: " + parsed.error().message};
}

Target Service::target_of(const Context& c) const {
  return {c.resource, c.info.ns, c.info.name, c.info.subresource};
}

Result<Presentation> Service::presentation(const Context& c) const {
  Presentation p;
  SKIFF_TRY(p.form, negotiate(c.request));
  SKIFF_TRY(p.include, parse_include(c.request.query.get("includeObject")));
  p.resource = c.resource;
  if (const api::Subresource* sub = c.resource->subresource(c.info.subresource)) {
    // A Scale or Eviction has no columns of the object it belongs to.
    if (sub->kind != c.resource->kind) p.resource = nullptr;
  }
  p.now = env_.clock->wall();
  return p;
}

Result<registry::WriteContext> Service::write_context(Context& c,
                                                      std::string_view options_kind) const {
  registry::WriteContext w;
  w.user = c.user;
  w.warnings = &c.warnings;
  SKIFF_TRY(w.manager, manager_of(c.request, options_kind));
  SKIFF_TRY(w.dry_run, parse_dry_run(c.request.query, options_kind));
  SKIFF_TRY(w.field_validation,
            parse_validation(c.request.query.get("fieldValidation"), options_kind));
  return w;
}

Result<http::Response> Service::component_statuses(Context& c) const {
  c.warnings.emplace_back("v1 ComponentStatus is deprecated in v1.19+");
  registry::Listing listing;
  listing.revision = registry_.store().revision();
  for (const std::string_view name : {"controller-manager", "etcd-0", "scheduler"}) {
    if (!c.info.name.empty() && c.info.name != name) continue;
    Value doc = Value::object({{"kind", "ComponentStatus"}, {"apiVersion", "v1"}});
    doc.set("metadata", Value::object({{"name", name}, {"creationTimestamp", nullptr}}));
    Value healthy = Value::object({{"type", "Healthy"}, {"status", "True"}, {"message", "ok"}});
    doc.set("conditions", Value::array({std::move(healthy)}));
    auto item = std::make_shared<store::Item>();
    item->value = api::to_json(doc);
    listing.items.push_back(std::move(item));
  }
  SKIFF_TRY(const Presentation p, presentation(c));
  http::Buffers body;
  if (c.info.name.empty()) {
    SKIFF_TRY(body, present(p, listing));
  } else if (listing.items.empty()) {
    return registry::not_found_error(*c.resource, c.info.name);
  } else {
    SKIFF_TRY(body, present(p, listing.items.front()));
  }
  return http::Response::make(200, p.form.content_type(), std::move(body));
}

Task<Result<http::Response>> Service::read(Context* c) {
  if (c->resource->plural == "componentstatuses") co_return component_statuses(*c);
  SKIFF_CO_TRY(const Presentation p, presentation(*c));
  SKIFF_CO_TRY(const registry::ReadOptions options, read_options(c->request.query));
  Target target = target_of(*c);
  http::Buffers body;
  if (c->info.name.empty()) {
    if (!c->resource->allows(api::kList)) co_return method_not_allowed();
    SKIFF_CO_TRY(const registry::Listing listing,
                 co_await registry_.fetch_list(std::move(target), options, &c->warnings));
    SKIFF_CO_TRY(body, present(p, listing));
  } else {
    const api::Subresource* sub = c->resource->subresource(c->info.subresource);
    const bool allowed = c->info.subresource.empty() ? c->resource->allows(api::kGet)
                                                     : sub && (sub->verbs & api::kGet) != 0;
    if (!allowed) co_return method_not_allowed();
    SKIFF_CO_TRY(const registry::ItemPtr item,
                 co_await registry_.fetch(std::move(target), options, &c->warnings));
    SKIFF_CO_TRY(body, present(p, item));
  }
  co_return http::Response::make(200, p.form.content_type(), std::move(body));
}

Result<http::Response> Service::respond(Context& c, const registry::Written& written) const {
  SKIFF_TRY(Presentation p, presentation(c));
  if (registry::scan::equals(registry::scan::find(written.item->value, {"kind"}), "Status")) {
    p.form.shape = Shape::object;
  }
  SKIFF_TRY(http::Buffers body, present(p, written.item));
  return http::Response::make(written.created ? 201 : 200, p.form.content_type(), std::move(body));
}

Task<Result<http::Response>> Service::write(Context* c) {
  const std::string& verb = c->info.verb;
  const bool create = verb == "create";
  const bool patch = verb == "patch";
  if (create == !c->info.name.empty() && c->info.subresource.empty()) {
    co_return method_not_allowed();  // POST to an object, PUT to a collection
  }
  if (c->resource->namespaced && c->info.ns.empty()) co_return method_not_allowed();
  SKIFF_CO_TRY(const Presentation negotiated, presentation(*c));
  (void)negotiated;  // an answer that cannot be shown is refused before anything is written
  registry::WriteContext context;
  Value document;
  api::PatchType type = api::PatchType::merge;
  SKIFF_CO_TRY(context, write_context(*c, create  ? "CreateOptions"
                                          : patch ? "PatchOptions"
                                                  : "UpdateOptions"));
  if (patch) {
    SKIFF_CO_TRY(type, patch_type(c->request));
    std::vector<std::string>& duplicates = context.duplicate_fields;
    auto parsed = type == api::PatchType::apply ? api::parse_yaml(c->request.body)
                                                : api::parse_json(c->request.body, {}, &duplicates);
    if (!parsed) co_return annotate(parsed.error(), "error decoding patch");
    for (std::string& d : duplicates) d = "duplicate field \"" + d + "\"";
    document = std::move(*parsed);
  } else {
    SKIFF_CO_TRY(document, parse_body(c->request, c->resource->kind, &context.duplicate_fields));
  }
  Target target = target_of(*c);
  if (is_role_kind(*c->resource)) {
    Value outcome = document;
    if (patch) {  // what matters is what the patch makes of the object
      registry::WriteContext trial = context;
      trial.dry_run = true;
      trial.warnings = nullptr;
      Value copy = document;
      auto tried = co_await registry_.patch(target, type, std::move(copy), std::move(trial));
      if (!tried) co_return tried.error();
      outcome = registry::object_of(tried->item)->root();
    }
    SKIFF_CO_CHECK(authorizer_.check_escalation(*c->user, *c->resource, c->info.ns, outcome));
  }
  Result<registry::Written> written = Error{};
  if (create) {
    written = co_await registry_.create(std::move(target), std::move(document), std::move(context));
  } else if (patch) {
    written =
        co_await registry_.patch(std::move(target), type, std::move(document), std::move(context));
  } else {
    written = co_await registry_.update(std::move(target), std::move(document), std::move(context));
  }
  if (!written) co_return written.error();
  co_return respond(*c, *written);
}

Task<Result<http::Response>> Service::remove(Context* c) {
  // A collection of one namespace can be deleted, not that of all.
  if (c->resource->namespaced && c->info.ns.empty()) co_return method_not_allowed();
  SKIFF_CO_TRY(const Presentation p, presentation(*c));
  registry::WriteContext context;
  SKIFF_CO_TRY(context, write_context(*c, "DeleteOptions"));
  registry::DeleteOptions options;
  SKIFF_CO_TRY(options, delete_options(c->request, context.dry_run));
  Target target = target_of(*c);
  if (!c->info.name.empty()) {
    auto written =
        co_await registry_.remove(std::move(target), std::move(options), std::move(context));
    if (!written) co_return written.error();
    if (written->brief) co_return removed_status(*c->resource, written->item);
    co_return respond(*c, *written);
  }
  registry::ReadOptions which;
  SKIFF_CO_TRY(which, read_options(c->request.query));
  auto listing = co_await registry_.remove_collection(std::move(target), std::move(which),
                                                      std::move(options), std::move(context));
  if (!listing) co_return listing.error();
  SKIFF_CO_TRY(http::Buffers body, present(p, *listing));
  co_return http::Response::make(200, p.form.content_type(), std::move(body));
}

Task<http::Response> Service::resource_request(Context* c) {
  Result<http::Response> response = Error{};
  if (c->resource) {
    const bool known = c->info.subresource.empty() || c->resource->subresource(c->info.subresource);
    const std::string& verb = c->info.verb;
    if (!known) {
      response = not_found_path();
    } else if (needs_node(*c)) {
      response = Error{Code::method_not_allowed, std::string(c->resource->plural) + "/" +
                                                     c->info.subresource +
                                                     " is not served by this version of skiff"};
    } else if (verb == "create" && is_review(*c->resource)) {
      response = review(*c);
    } else if (verb == "get" || verb == "list") {
      response = co_await read(c);
    } else if (verb == "create" || verb == "update" || verb == "patch") {
      response = co_await write(c);
    } else if (verb == "delete" || verb == "deletecollection") {
      response = co_await remove(c);
    } else {
      response = method_not_allowed();
    }
  } else {
    response = not_found_path();
  }
  co_return response ? std::move(*response) : status_response(response.error());
}

}  // namespace skiff::apiserver
