// List once, watch for ever: the part of an informer that talks to the API, without the cache. For
// those who keep something smaller than the objects.
#pragma once

#include <span>
#include <vector>

#include "skiff/client/client.hpp"

namespace skiff::client {

// Receives one resource's state and changes, in the loop's turn, in revision order.
class WatchSink {
 public:
  virtual ~WatchSink() = default;
  // A list replaces everything known: begin, any number of pages, end. A list that fails half way
  // starts anew with list_begin().
  virtual void list_begin() = 0;
  virtual void list_page(std::vector<ObjectPtr> objects) = 0;
  virtual void list_end(std::int64_t revision) = 0;
  // Changes after the list, without bookmarks.
  virtual void changes(std::span<const WatchEvent> events) = 0;
  // Everything up to `revision` was told.
  virtual void reached(std::int64_t revision) = 0;
};

// Runs until cancelled. Lists in pages (options.limit, 500 when 0), watches from there, resumes a
// broken watch from the last revision seen, lists again when that revision has expired. Errors are
// logged and tried again after a back-off of 100 ms doubling to 30 s, with jitter from env.random.
// `client` and `sink` outlive the task.
Task<void> reflect(Env env, Client* client, Ref ref, ListOptions options, WatchSink* sink);

// The numeric resourceVersion `text`; 0 when it is not a number.
std::int64_t parse_revision(std::string_view text) noexcept;

}  // namespace skiff::client
