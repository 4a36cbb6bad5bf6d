#include <fmt/format.h>

#include "client.hpp"

namespace skiff::sim {

using store::Event;
using store::Range;
using store::Revision;

Watcher::Watcher(Field& field, int host)
    : field_(field),
      host_(host),
      dice_(field.world.dice("watcher" + std::to_string(host))),
      caller_(field, host),
      max_pending_(dice_.chance(0.3) ? 1 + dice_.below(40) : 10'000),
      slow_(dice_.chance(0.25)) {
  const std::vector<Range> ranges = {Range{},
                                     Range::prefix("hot/"),
                                     Range::prefix("cold/"),
                                     Range::key("hot/0"),
                                     Range::prefix("vol/"),
                                     Range{"cold/020", "cold/120"}};
  range_ = dice_.pick(ranges);
  if (dice_.chance(0.25)) attribute_ = {"owner", "n" + std::to_string(dice_.below(3))};
}

// Where to watch from: the revision of a list that is not older than anything acknowledged.
Task<bool> Watcher::list() {
  Node& node = *dice_.pick(field_.servers);
  const Checker::Begun begun{field_.checker.floor(), field_.world.now()};
  std::function<void(Node&, Reply)> request = [range = range_](Node& n, Reply reply) {
    n.read(range, true, 0, std::move(reply));
  };
  const auto answer = co_await caller_.call(node, std::move(request));
  if (!answer || answer->error) co_return false;
  const store::Page& page = answer->page;
  field_.checker.read({host_, node.host(), range_, page.revision, page.items, true}, begun);
  field_.world.note("list", host_, page.revision, static_cast<std::int64_t>(page.items.size()));
  reached_ = page.revision;
  co_return true;
}

bool Watcher::take(const Stream::Message& message) {
  for (const Event& event : message.events) {
    if (event.revision() <= reached_) {
      field_.world.violation(
          "watch-order", fmt::format("client {}: revision {} ({}) after everything up to {}", host_,
                                     event.revision(), event.item->key, reached_));
      return false;
    }
    reached_ = event.revision();
    segment_.events.push_back(event);
  }
  field_.world.count(Count::events, message.events.size());
  if (message.bookmark != 0 && message.bookmark < reached_) {
    field_.world.violation("bookmark", fmt::format("client {}: a bookmark at {} after {}", host_,
                                                   message.bookmark, reached_));
  }
  reached_ = std::max(reached_, message.bookmark);
  return true;
}

void Watcher::finish_segment() {
  segment_.upto = reached_;
  if (segment_.client != 0 && segment_.upto > segment_.after)
    field_.checker.watched(std::move(segment_));
  segment_ = {};
}

// Watches at one server until the stream breaks, or for as long as this client likes.
Task<void> Watcher::follow() {
  Node& node = *dice_.pick(field_.servers);
  const auto stream = std::make_shared<Stream>(field_.world.executor());
  store::WatchOptions options;
  options.range = range_;
  options.attribute = attribute_;
  options.after = reached_;
  options.max_pending = max_pending_;
  field_.world.note("watch", host_, reached_, node.host(), range_.begin);
  field_.world.count(Count::watches);
  segment_.client = host_;
  segment_.range = range_;
  segment_.attribute = attribute_;
  segment_.after = reached_;
  const bool sent = field_.net.message(host_, node.host(), [&node, stream, options, h = host_] {
    if (!stream->abandoned) node.watch(h, options, stream);
  });
  if (!sent) co_return;
  field_.world.after(dice_.between(1s, 30s), [stream] {
    stream->abandoned = true;
    stream->changed.notify_all();
  });
  while (!stream->abandoned) {
    if (!stream->arrived.empty()) {
      const auto message = std::move(stream->arrived.front());
      stream->arrived.pop_front();
      stream->changed.notify_all();
      segment_.loaded = stream->loaded;
      if (!take(message)) break;
      if (slow_) co_await field_.world.sleep(dice_.between(10ms, 800ms));
      continue;
    }
    if (stream->over) break;
    co_await stream->changed.wait();
  }
  finish_segment();
  if (stream->over && stream->over->code == Code::expired) {
    field_.world.count(Count::expired);
    field_.world.note("expired", host_, reached_, node.host());
    reached_ = 0;
  }
  stream->abandoned = true;
  stream->changed.notify_all();
}

Task<void> Watcher::run() {
  while (!field_.over) {
    if (reached_ == 0) {
      const bool listed = co_await list();
      if (!listed) {
        co_await field_.world.sleep(dice_.between(100ms, 1s));
        continue;
      }
    }
    co_await follow();
    co_await field_.world.sleep(dice_.between(Duration{}, 300ms));
  }
}

void Watcher::end() { finish_segment(); }

}  // namespace skiff::sim
