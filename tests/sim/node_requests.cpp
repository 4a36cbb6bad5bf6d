#include <fmt/format.h>

#include "node.hpp"
#include "node_process.hpp"

namespace skiff::sim {

using store::Range;
using store::Revision;

namespace {

constexpr std::size_t kStreamWindow = 16;  // messages on their way to a client that does not read

Answer failed(Error error, bool refused) {
  Answer answer;
  answer.error = std::move(error);
  answer.refused = refused;
  return answer;
}

Answer gone() { return failed({Code::unavailable, "connection refused"}, true); }

}  // namespace

void Node::commit(std::vector<store::Op> ops, Reply reply) {
  if (store() == nullptr) return reply(gone());
  process_->tasks.spawn("commit", serve_commit(process_, std::move(ops), std::move(reply)));
}

void Node::read(Range range, bool linearizable, Revision at, Reply reply) {
  if (store() == nullptr) return reply(gone());
  process_->tasks.spawn("read",
                        serve_read(process_, std::move(range), linearizable, at, std::move(reply)));
}

void Node::watch(int client, store::WatchOptions options, StreamPtr stream) {
  if (store() == nullptr) {
    stream->over = Error{Code::unavailable, "connection refused"};
    stream->changed.notify_all();
    return;
  }
  process_->tasks.spawn("watch",
                        serve_watch(process_, client, std::move(options), std::move(stream)));
}

void Node::compact(Revision back) {
  if (store() == nullptr) return;
  const auto task = [](ProcessPtr p, Revision to) -> Task<void> {
    (void)co_await p->store->compact(to);
  };
  const Revision to = store()->revision() - back;
  if (to > 0) process_->tasks.spawn("compact", task(process_, to));
}

Task<void> Node::serve_commit(ProcessPtr p, std::vector<store::Op> ops, Reply reply) {
  Answer answer;
  answer.verdicts = co_await p->store->commit(std::move(ops));
  if (!p->life->alive) co_return;
  reply(std::move(answer));
}

Task<void> Node::serve_read(ProcessPtr p, Range range, bool linearizable, Revision at,
                            Reply reply) {
  if (linearizable) {
    const auto reached = co_await p->store->barrier();
    if (!p->life->alive) co_return;
    if (!reached) {
      reply(failed(reached.error(), true));
      co_return;
    }
  }
  Answer answer;
  if (at == 0) {
    auto page = p->store->range(range);
    SKIFF_ASSERT(page.has_value(), "the newest state is always readable");
    answer.page = std::move(*page);
  } else {
    auto page = co_await p->store->range_at(std::move(range), 0, at);
    if (!p->life->alive) co_return;
    if (!page) {
      reply(failed(page.error(), true));
      co_return;
    }
    answer.page = std::move(*page);
  }
  reply(std::move(answer));
}

void Node::push(const ProcessPtr& p, int client, const StreamPtr& stream, Stream::Message message) {
  if (stream->torn) return;
  ++stream->travelling;
  const TimePoint at =
      std::max(stream->last_arrival, world_.clock.now() + net_.delay(host_, client));
  stream->last_arrival = at;
  const auto broken = [stream] {
    stream->over = Error{Code::unavailable, "connection reset"};
    stream->changed.notify_all();
  };
  if (net_.cut(host_, client)) {
    stream->torn = true;
    return world_.after(1s, broken);
  }
  world_.after(at - world_.clock.now(),
               [this, stream, client, broken, life = p->life, message = std::move(message)] {
                 --stream->travelling;
                 // What was under way when the server died may have arrived or not; nothing after
                 // it does.
                 if (stream->over) return;
                 if (!life->alive || net_.cut(host_, client)) return broken();
                 stream->arrived.push_back(message);
                 stream->changed.notify_all();
               });
}

Task<void> Node::serve_bookmarks(ProcessPtr p, int client, std::weak_ptr<store::Watch> watch,
                                 StreamPtr stream) {
  const Duration every = dice_.between(50ms, 2s);
  for (;;) {
    co_await clock.sleep_for(every);
    const auto alive = watch.lock();
    if (!alive || stream->abandoned || stream->over) co_return;
    if (stream->arrived.size() + stream->travelling >= kStreamWindow) continue;
    Stream::Message message;
    message.bookmark = alive->progress();
    if (tuning_.plant == Plant::false_bookmark) message.bookmark += 3;
    push(p, client, stream, std::move(message));
  }
}

Task<void> Node::serve_watch(ProcessPtr p, int client, store::WatchOptions options,
                             StreamPtr stream) {
  plant_in(tuning_.plant, options);
  stream->loaded = p->loaded;
  const auto end = [&](Error error) {
    stream->over = std::move(error);
    stream->changed.notify_all();
  };
  auto begun = p->store->watch(std::move(options));
  if (!begun) {
    end(begun.error());
    co_return;
  }
  const std::shared_ptr<store::Watch> watch = std::move(*begun);
  p->tasks.spawn("bookmarks", serve_bookmarks(p, client, watch, stream));
  // The stream's end is noticed when there is something to send: as with a real socket.
  try {
    for (;;) {
      while (stream->arrived.size() + stream->travelling >= kStreamWindow && !stream->abandoned &&
             !stream->over) {
        co_await stream->changed.wait();
      }
      auto events = co_await watch->next();
      if (stream->abandoned || stream->over || !p->life->alive) co_return;
      if (!events) {
        // Told in order, after what is still under way.
        const Error why = events.error();
        const Duration wait = std::max(stream->last_arrival - world_.clock.now(), Duration{});
        co_await world_.sleep(wait + 1ms);
        end(why);
        co_return;
      }
      Stream::Message message;
      message.events = std::move(*events);
      push(p, client, stream, std::move(message));
    }
  } catch (...) {
    end({Code::unavailable, "connection reset"});
    throw;
  }
}

}  // namespace skiff::sim
