#include "present.hpp"

#include "printers.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::apiserver {
namespace {

namespace scan = registry::scan;
using api::Value;
using registry::ItemPtr;

constexpr std::string_view kPartial =
    R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":)";

std::string list_metadata(const registry::Listing& listing) {
  Value metadata = Value::object({{"resourceVersion", std::to_string(listing.revision)}});
  if (!listing.continue_token.empty()) metadata.set("continue", listing.continue_token);
  if (listing.remaining) metadata.set("remainingItemCount", *listing.remaining);
  return api::to_json(metadata);
}

std::string head(std::string_view kind, std::string_view api_version, std::string_view metadata) {
  std::string out = R"({"kind":")";
  out += kind;
  out += R"(","apiVersion":")";
  out += api_version;
  out += R"(","metadata":)";
  out += metadata;
  return out;
}

std::string api_version_of(const api::Resource& resource) {
  return api::GroupVersion{std::string(resource.group), std::string(resource.version)}.to_string();
}

void append_partial(std::string& out, std::string_view object) {
  out += kPartial;
  const std::string_view metadata = scan::find(object, {"metadata"});
  out += metadata.empty() ? std::string_view("{}") : metadata;
  out += '}';
}

void append_columns(std::string& out, const api::Resource& resource) {
  out += R"("columnDefinitions":[)";
  bool first = true;
  for (const api::Column& c : columns_of(resource)) {
    if (!first) out += ',';
    first = false;
    Value column = Value::object({{"name", c.name}, {"type", c.type}, {"format", c.format}});
    column.set("description", c.description);
    column.set("priority", c.priority);
    api::append_json(out, column);
  }
  out += "],";
}

void append_row(std::string& out, const Presentation& p, const ItemPtr& item) {
  Cells cells = printer_of(*p.resource)(registry::object_of(item)->root(), p.now);
  cells.resize(columns_of(*p.resource).size());
  out += R"({"cells":[)";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i != 0) out += ',';
    api::append_json(out, cells[i]);
  }
  out += ']';
  if (p.include != IncludeObject::none) {
    out += R"(,"object":)";
    if (p.include == IncludeObject::object) {
      out += item->value;
    } else {
      append_partial(out, item->value);
    }
  }
  out += '}';
}

std::string table(const Presentation& p, std::string_view metadata,
                  const std::vector<ItemPtr>& items, bool columns) {
  std::string out = head("Table", "meta.k8s.io/v1", metadata);
  out += ',';
  if (columns) append_columns(out, *p.resource);
  if (!columns) out += R"("columnDefinitions":[],)";
  out += R"("rows":[)";
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += ',';
    append_row(out, p, items[i]);
  }
  out += "]}";
  return out;
}

std::string object_table(const Presentation& p, const ItemPtr& item, bool columns) {
  const std::string revision = scan::text(scan::find(item->value, {"metadata", "resourceVersion"}));
  const std::string metadata = api::to_json(Value::object({{"resourceVersion", revision}}));
  return table(p, metadata, {item}, columns);
}

http::Buffers whole(std::string text) {
  http::Buffers out;
  out.emplace_back(std::move(text));
  return out;
}

http::Buffers shared(const ItemPtr& item) {
  http::Buffers out;
  out.emplace_back(item, item->value);
  return out;
}

Error wrong_shape() {
  return {Code::not_acceptable,
          "only the following media types are accepted: application/json, application/yaml, "
          "application/json;as=Table;g=meta.k8s.io;v=v1, "
          "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"};
}

}  // namespace

std::string_view content_type(const Form& form) noexcept { return form.content_type(); }

http::Buffers encode_as(const Form& form, http::Buffers json) {
  if (form.encoding == Encoding::json && !form.pretty) return json;
  const auto parsed = api::parse_json(http::join(json), {.max_bytes = SIZE_MAX});
  if (!parsed) return json;
  if (form.encoding == Encoding::yaml) return whole(api::to_yaml(*parsed));
  return whole(api::to_json(*parsed, 2) + "\n");
}

Result<http::Buffers> present(const Presentation& p, const ItemPtr& item) {
  switch (p.form.shape) {
    case Shape::object:
      return encode_as(p.form, shared(item));
    case Shape::table:
      if (!p.resource) return wrong_shape();
      return encode_as(p.form, whole(object_table(p, item, true)));
    case Shape::partial: {
      std::string out;
      append_partial(out, item->value);
      return encode_as(p.form, whole(std::move(out)));
    }
    case Shape::partial_list:
      return wrong_shape();
  }
  return wrong_shape();
}

Result<http::Buffers> present(const Presentation& p, const registry::Listing& listing) {
  const std::string metadata = list_metadata(listing);
  if (p.form.shape == Shape::table) {
    return encode_as(p.form, whole(table(p, metadata, listing.items, true)));
  }
  if (p.form.shape == Shape::partial_list || p.form.shape == Shape::partial) {
    std::string out = head("PartialObjectMetadataList", "meta.k8s.io/v1", metadata);
    out += R"(,"items":[)";
    for (std::size_t i = 0; i < listing.items.size(); ++i) {
      if (i != 0) out += ',';
      append_partial(out, listing.items[i]->value);
    }
    out += "]}";
    return encode_as(p.form, whole(std::move(out)));
  }
  http::Buffers out;
  out.reserve(2 * listing.items.size() + 2);
  out.emplace_back(
      head(std::string(p.resource->kind) + "List", api_version_of(*p.resource), metadata) +
      R"(,"items":[)");
  for (std::size_t i = 0; i < listing.items.size(); ++i) {
    if (i != 0) out.push_back(http::Buffer::literal(","));
    out.emplace_back(listing.items[i], listing.items[i]->value);
  }
  out.push_back(http::Buffer::literal("]}"));
  return encode_as(p.form, std::move(out));
}

http::Buffers present_event(const Presentation& p, const registry::WatchEvent& event,
                            bool columns) {
  const bool bookmark = event.type == registry::WatchEvent::Type::bookmark;
  if (p.form.shape == Shape::table) {
    if (!bookmark) return whole(object_table(p, event.item, columns));
    // A bookmark's object may not be printable: only its version counts.
    const std::string_view metadata = scan::find(event.item->value, {"metadata"});
    std::string out = head("Table", "meta.k8s.io/v1", metadata);
    out += R"(,"columnDefinitions":[],"rows":[{"cells":[],"object":)";
    append_partial(out, event.item->value);
    return whole(out + "}]}");
  }
  if (p.form.shape == Shape::object) return shared(event.item);
  std::string out;
  append_partial(out, event.item->value);
  return whole(std::move(out));
}

Result<IncludeObject> parse_include(std::string_view text) {
  if (text.empty() || text == "Metadata") return IncludeObject::metadata;
  if (text == "None") return IncludeObject::none;
  if (text == "Object") return IncludeObject::object;
  return Error{Code::bad_request, "unrecognized includeObject value: \"" + std::string(text) +
                                      "\"; it must be None, Metadata or Object"};
}

}  // namespace skiff::apiserver
