#include "skiff/client/reflector.hpp"

#include <charconv>

#include "backoff.hpp"

namespace skiff::client {
namespace {

constexpr std::int64_t kPageSize = 500;
constexpr Duration kFirstRetry = 100ms;
constexpr Duration kLongestRetry = 30s;
constexpr Duration kHealthyWatch = 5s;  // a stream that lived this long was no failure

std::string describe(const Ref& ref) {
  return ref.group.empty() ? ref.resource : ref.resource + "." + ref.group;
}

struct Reflection {
  Env env;
  Client* client;
  Ref ref;
  ListOptions options;
  WatchSink* sink;
  Backoff backoff;
  std::string revision;  // of the last thing seen
};

// One consistent list, page by page.
Task<Result<void>> list_all(Reflection* r) {
  ListOptions options = r->options;
  if (options.limit <= 0) options.limit = kPageSize;
  r->sink->list_begin();
  for (;;) {
    SKIFF_CO_TRY(List page, co_await r->client->list(r->ref, options));
    r->revision = page.resource_version;
    options.continue_token = std::move(page.continue_token);
    r->sink->list_page(std::move(page.items));
    if (options.continue_token.empty()) break;
    options.resource_version.clear();
    options.resource_version_match.clear();
  }
  r->sink->list_end(parse_revision(r->revision));
  co_return Result<void>{};
}

void deliver(Reflection* r, std::vector<WatchEvent> events) {
  if (events.empty()) return;
  const WatchEvent& last = events.back();
  const std::int64_t revision =
      last.revision != 0 ? last.revision : parse_revision(last.object->resource_version());
  r->revision = std::to_string(revision);
  std::erase_if(events, [](const WatchEvent& e) { return e.type == WatchEvent::Type::bookmark; });
  if (!events.empty()) r->sink->changes(events);
  r->sink->reached(revision);
}

// Reads one stream until it breaks; true when the revision has expired.
Task<bool> follow_stream(Reflection* r, std::unique_ptr<WatchStream> stream) {
  for (;;) {
    auto events = co_await stream->next();
    if (!events) {
      if (events.error().code == Code::expired) co_return true;
      log::debug("client", "watch ended",
                 {{"resource", describe(r->ref)}, {"why", events.error()}});
      co_return false;
    }
    r->backoff.reset();
    deliver(r, std::move(*events));
  }
}

// Watches from r->revision on; returns when a new list is needed.
Task<void> follow(Reflection* r) {
  for (;;) {
    ListOptions options;
    options.label_selector = r->options.label_selector;
    options.field_selector = r->options.field_selector;
    options.resource_version = r->revision;
    options.bookmarks = true;
    const TimePoint started = r->env.clock->now();
    auto stream = co_await r->client->watch(r->ref, options);
    if (stream) {
      const bool expired = co_await follow_stream(r, std::move(*stream));
      if (expired) co_return;
      if (r->env.clock->now() - started >= kHealthyWatch) r->backoff.reset();
    } else {
      if (stream.error().code == Code::expired) co_return;
      log::warn("client", "watch refused",
                {{"resource", describe(r->ref)}, {"why", stream.error()}});
    }
    co_await r->env.clock->sleep_for(r->backoff.next());
  }
}

}  // namespace

std::int64_t parse_revision(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? value : 0;
}

Task<void> reflect(Env env, Client* client, Ref ref, ListOptions options, WatchSink* sink) {
  Reflection r{env,
               client,
               std::move(ref),
               std::move(options),
               sink,
               Backoff(env, kFirstRetry, kLongestRetry),
               ""};
  for (;;) {
    const Result<void> listed = co_await list_all(&r);
    if (listed) {
      co_await follow(&r);
      log::debug("client", "watch expired, listing again", {{"resource", describe(r.ref)}});
      // A server that says `expired` at once, again and again, must not be hammered.
      co_await env.clock->sleep_for(r.backoff.next());
      continue;
    }
    log::warn("client", "list failed", {{"resource", describe(r.ref)}, {"why", listed.error()}});
    co_await env.clock->sleep_for(r.backoff.next());
  }
}

}  // namespace skiff::client
