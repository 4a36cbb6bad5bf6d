#include "media.hpp"

namespace skiff::apiserver {
namespace {

constexpr std::string_view kAccepted =
    "only the following media types are accepted: application/json, application/yaml";

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// The part before `separator`, which is taken off `rest` with it.
std::string_view next_part(std::string_view& rest, char separator) {
  const auto at = rest.find(separator);
  const std::string_view part = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return trim(part);
}

MediaRange parse_range(std::string_view text) {
  MediaRange range;
  range.type = lower(next_part(text, ';'));
  while (!text.empty()) {
    std::string_view parameter = next_part(text, ';');
    const std::string name = lower(next_part(parameter, '='));
    std::string_view value = trim(parameter);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    if (name == "q") {
      double q = 1;
      std::from_chars(value.data(), value.data() + value.size(), q);
      range.quality = q;
    } else if (!name.empty()) {
      range.parameters.emplace_back(name, std::string(value));
    }
  }
  return range;
}

std::optional<Encoding> encoding_of(std::string_view type) {
  if (type == "application/json" || type == "*/*" || type == "application/*" || type.empty()) {
    return Encoding::json;
  }
  if (type == "application/yaml" || type == "application/x-yaml" || type == "text/yaml") {
    return Encoding::yaml;
  }
  return std::nullopt;
}

std::optional<Form> form_of(const MediaRange& range) {
  const auto encoding = encoding_of(range.type);
  if (!encoding) return std::nullopt;
  Form form;
  form.encoding = *encoding;
  const std::string_view as = range.parameter("as");
  if (as.empty()) return form;
  if (range.parameter("g") != "meta.k8s.io" || range.parameter("v") != "v1") return std::nullopt;
  if (as == "Table") {
    form.shape = Shape::table;
  } else if (as == "PartialObjectMetadata") {
    form.shape = Shape::partial;
  } else if (as == "PartialObjectMetadataList") {
    form.shape = Shape::partial_list;
  } else {
    return std::nullopt;
  }
  return form;
}

bool wants_pretty(const http::Request& request) {
  if (const std::string* pretty = request.query.find("pretty")) {
    return *pretty != "false" && *pretty != "0";
  }
  // People read what these fetch.
  const std::string_view agent = request.headers.get("User-Agent");
  return agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0");
}

}  // namespace

std::string_view Form::content_type() const noexcept {
  return encoding == Encoding::json ? "application/json" : "application/yaml";
}

std::string_view MediaRange::parameter(std::string_view name) const noexcept {
  for (const auto& [key, value] : parameters) {
    if (key == name) return value;
  }
  return {};
}

std::vector<MediaRange> parse_accept(std::string_view header) {
  std::vector<MediaRange> ranges;
  while (!header.empty() && ranges.size() < 64) {
    const std::string_view one = next_part(header, ',');
    if (!one.empty()) ranges.push_back(parse_range(one));
  }
  std::stable_sort(ranges.begin(), ranges.end(),
                   [](const MediaRange& a, const MediaRange& b) { return a.quality > b.quality; });
  return ranges;
}

Result<Form> negotiate(const http::Request& request, bool transforms) {
  const std::string_view accept = request.headers.get("Accept");
  std::optional<Form> form;
  if (accept.empty() || accept == "application/json" || accept == "*/*") {
    form.emplace();
  } else {
    for (const MediaRange& range : parse_accept(accept)) {
      if (range.quality > 0) form = form_of(range);
      if (form && !transforms && form->shape != Shape::object) form.reset();
      if (form) break;
    }
  }
  if (!form) return Error{Code::not_acceptable, std::string(kAccepted)};
  form->pretty = wants_pretty(request);
  return *form;
}

Result<Encoding> body_encoding(const http::Request& request) {
  std::string_view header = request.headers.get("Content-Type");
  const std::string_view given = next_part(header, ';');
  if (const auto encoding = encoding_of(given)) return *encoding;  // as nearly everybody writes it
  const std::string type = lower(given);
  if (const auto encoding = encoding_of(type)) return *encoding;
  // curl's default for -d.
  if (type == "application/x-www-form-urlencoded") return Encoding::json;
  return Error{Code::unsupported_media,
               "the body of the request was in an unknown format - accepted media types include: "
               "application/json, application/yaml, application/vnd.kubernetes.protobuf"};
}

}  // namespace skiff::apiserver
