// GET /skiff/v1/state: everything the store had at one revision, for `skiff fork`.
//
// A line of JSON about the whole, one a key, and one that says how many there were, so that a
// stream that broke off is not taken for whole.
#include "service.hpp"

namespace skiff::apiserver {
namespace {

using api::Value;

constexpr std::size_t kChunk = 500;

std::string line_of(const store::Item& item) {
  Value head = Value::object({{"key", item.key}, {"created", item.created}});
  head.set("modified", item.modified);
  Value attributes = Value::array();
  for (const auto& [name, value] : item.attributes) {
    attributes.push_back(name);
    attributes.push_back(value);
  }
  head.set("attributes", std::move(attributes));
  std::string out = api::to_json(head);
  out.pop_back();
  return out + ",\"value\":" + item.value + "}\n";
}

}  // namespace

Task<Result<void>> Service::stream_state(Context* c, http::Exchange* exchange) {
  store::Store& store = registry_.store();
  SKIFF_CO_CHECK(co_await registry_.catch_up("", &c->warnings));
  store::Revision at = store.revision();
  if (const std::string* text = c->request.query.find("revision")) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), at);
    if (error != std::errc() || end != text->data() + text->size() || at < 1) {
      co_return Error{Code::bad_request, "revision: want a revision, not \"" + *text + "\""};
    }
    if (at > store.revision()) {
      co_return Error{Code::bad_request, "revision " + *text + " is still to come: the newest is " +
                                             std::to_string(store.revision())};
    }
  }
  // The first page is read before anything is said, so that what is gone can be a plain refusal.
  store::Range range;
  auto page = co_await store.range_at(range, kChunk, at);
  if (!page) co_return page.error();
  Value about = Value::object({{"revision", at}, {"newest", store.revision()}});
  about.set("serviceCIDR", registry_.options().service_cidr);
  http::Response head = http::Response::make(200, "application/json", {});
  head.compressible = false;
  head.body.emplace_back(api::to_json(about) + "\n");
  finish(*c, head);
  SKIFF_CO_CHECK(co_await exchange->start(std::move(head)));
  std::int64_t keys = 0;
  while (true) {
    std::string text;
    for (const store::ItemPtr& item : page->items) {
      if (item->value.empty() || item->value.front() != '{') continue;
      text += line_of(*item);
      ++keys;
    }
    const bool more = page->more && !page->items.empty();
    if (more) range.begin = page->items.back()->key + '\0';
    if (!more) text += "{\"keys\":" + std::to_string(keys) + "}\n";
    http::Buffers part;
    part.emplace_back(std::move(text));
    SKIFF_CO_CHECK(co_await exchange->write(std::move(part)));
    if (!more) co_return Result<void>();
    page = co_await store.range_at(range, kChunk, at);
    if (!page) {
      exchange->abort();
      co_return page.error();
    }
  }
}

}  // namespace skiff::apiserver
