#include "skiff/api/value.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

api::Value to_value(const Image& image) {
  const auto list = [](const std::vector<std::string>& names) {
    api::Value out = api::Value::array();
    for (const std::string& name : names) out.push_back(name);
    return out;
  };
  api::Value v = api::Value::object();
  v.set("id", image.id);
  v.set("tags", list(image.tags));
  v.set("digests", list(image.digests));
  v.set("size", static_cast<std::int64_t>(image.size));
  v.set("pinned", image.pinned);
  return v;
}

}  // namespace skiff::runtime
