#include "skiff/api/object.hpp"

namespace skiff::api {

Result<GroupVersion> GroupVersion::parse(std::string_view api_version) {
  const auto slash = api_version.find('/');
  if (slash == std::string_view::npos) return GroupVersion{"", std::string(api_version)};
  if (api_version.find('/', slash + 1) != std::string_view::npos) {
    return Error{Code::bad_request, "unexpected GroupVersion string: " + std::string(api_version)};
  }
  return GroupVersion{std::string(api_version.substr(0, slash)),
                      std::string(api_version.substr(slash + 1))};
}

ObjectPtr Object::wrap(std::shared_ptr<const void> owner, std::string_view json) {
  return ObjectPtr(new Object(std::move(owner), json));
}

ObjectPtr Object::make(Value root) {
  auto bytes = std::make_shared<const std::string>(to_json(root));
  const std::string_view json = *bytes;
  std::shared_ptr<Object> object(new Object(std::move(bytes), json));
  object->root_ = std::move(root);
  return object;
}

const Value& Object::root() const {
  if (!root_) {
    auto parsed = parse_json(json_, {.max_bytes = SIZE_MAX, .max_depth = SIZE_MAX});
    SKIFF_ASSERT(parsed.has_value(), "an object holds bytes that are not JSON");
    root_ = std::move(*parsed);
  }
  return *root_;
}

const Value* controller_of(const Value& object) {
  for (const Value& owner : object["metadata"]["ownerReferences"].items()) {
    if (owner["controller"].as_bool()) return &owner;
  }
  return nullptr;
}

}  // namespace skiff::api
