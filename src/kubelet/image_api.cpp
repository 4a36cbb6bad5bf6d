#include "image_api.hpp"

#include "skiff/api/value.hpp"

namespace skiff::kubelet {
namespace {

http::Response answer(const Result<std::vector<runtime::Image>>& images) {
  if (!images) {
    const int status = images.error().code == Code::not_found ? 404 : 400;
    return http::Response::text(status, images.error().message + "\n");
  }
  api::Value items = api::Value::array();
  for (const runtime::Image& image : *images) items.push_back(runtime::to_value(image));
  api::Value list = api::Value::object();
  list.set("items", std::move(items));
  http::Buffers body;
  body.emplace_back(api::to_json(list));
  return http::Response::make(200, "application/json", std::move(body));
}

}  // namespace

Task<http::Response> answer_images(runtime::ImageStore* images, http::Request request) {
  const std::string ref(request.query.get("ref"));
  Result<std::vector<runtime::Image>> result = std::vector<runtime::Image>();
  if (request.method == http::Method::get && request.path == "/images") {
    result = co_await images->list();
  } else if (request.method != http::Method::post) {
    co_return http::Response::text(405, "method not allowed\n");
  } else if (request.path == "/images/import") {
    const std::string path(request.query.get("path"));
    const std::string name(request.query.get("name"));
    result = co_await images->import_archive(path, name);
  } else if (request.path == "/images/pull") {
    Result<runtime::Image> image = co_await images->pull(ref, {});
    if (image) {
      result->push_back(std::move(*image));
    } else {
      result = image.error();
    }
  } else if (request.path == "/images/tag" || request.path == "/images/rm") {
    const bool tag = request.path == "/images/tag";
    const std::string to(request.query.get("to"));
    Result<void> done;
    if (tag) {
      done = co_await images->tag(ref, to);
    } else {
      done = co_await images->remove(ref);
    }
    if (!done) result = done.error();
  } else {
    co_return http::Response::text(404, "404 page not found\n");
  }
  co_return answer(result);
}

}  // namespace skiff::kubelet
