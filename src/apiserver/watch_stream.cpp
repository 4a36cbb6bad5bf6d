// Watches over HTTP: one JSON document a line, each made of the object's shared bytes between two
// literals, so that an event costs its watchers a reference and a system call.
#include "service.hpp"

namespace skiff::apiserver {
namespace {

using registry::WatchEvent;

constexpr Duration kLongestWatch = std::chrono::hours(24);
// A watch gathers events where there are fewer than one each millisecond.
constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kEach = std::chrono::milliseconds(1);
constexpr std::size_t kMany = 8;  // of fewer no rate can be told
constexpr Duration kBusy = std::chrono::seconds(1);

std::string_view opening(WatchEvent::Type type) {
  switch (type) {
    case WatchEvent::Type::added:
      return R"({"type":"ADDED","object":)";
    case WatchEvent::Type::modified:
      return R"({"type":"MODIFIED","object":)";
    case WatchEvent::Type::deleted:
      return R"({"type":"DELETED","object":)";
    case WatchEvent::Type::bookmark:
      return R"({"type":"BOOKMARK","object":)";
  }
  return {};
}

Result<bool> parse_flag(std::string_view text, std::string_view name) {
  if (text == "true" || text == "1" || text == "True" || text == "t") return true;
  if (text == "false" || text == "0" || text == "False" || text == "f") return false;
  return Error{Code::bad_request, "strconv.ParseBool: parsing \"" + std::string(text) +
                                      "\": invalid syntax (" + std::string(name) + ")"};
}

}  // namespace

// One watch on its way to one client: a pump for events and a keeper for bookmarks and the end.
class WatchSession {
 public:
  WatchSession(const Env& env, http::Exchange& exchange, std::unique_ptr<registry::Watcher> watcher,
               const Presentation& presentation, Duration bookmark_interval, TimePoint end,
               WatchPace& pace)
      : clock_(*env.clock),
        exchange_(exchange),
        watcher_(std::move(watcher)),
        presentation_(presentation),
        bookmark_interval_(bookmark_interval),
        end_(end),
        idle_(env.executor),
        pace_(pace),
        spread_(static_cast<std::uint32_t>(env.random->below(512))) {}

  Task<void> run() {
    co_await race(pump(), keep());
    if (writing_) exchange_.abort();  // cut off in the middle of an event
  }

 private:
  Task<bool> write(http::Buffers part) {
    while (writing_) co_await idle_.wait();
    writing_ = true;
    const Result<void> sent = co_await exchange_.write(std::move(part));
    writing_ = false;
    idle_.notify_all();
    co_return sent.has_value();
  }

  void append(http::Buffers& out, const WatchEvent& event) {
    out.push_back(http::Buffer::literal(opening(event.type)));
    for (http::Buffer& piece : present_event(presentation_, event, first_)) {
      out.push_back(std::move(piece));
    }
    out.push_back(http::Buffer::literal("}\n"));
    if (event.type != WatchEvent::Type::bookmark) first_ = false;
  }

  Task<void> pump() {
    while (true) {
      Result<std::vector<WatchEvent>> events = co_await watcher_->next();
      http::Buffers part;
      if (!events) {
        part.emplace_back(R"({"type":"ERROR","object":)" + status_json(events.error()) + "}\n");
        co_await write(std::move(part));
        co_return;
      }
      presentation_.now = clock_.wall();
      part.reserve(events->size() * 3);
      for (const WatchEvent& e : *events) append(part, e);
      const bool sent = co_await write(std::move(part));
      if (!sent) co_return;
      co_await gather(events->size());
    }
  }

  // Step by step, and not where much happens: there a client would get more than it can take in one
  // go, and whoever writes would no longer be held up by all that has to be sent. Not all watches
  // at the same time: between three and five quarters of the pause.
  Task<void> gather(std::size_t just_sent) {
    const TimePoint now = clock_.now();
    const Duration most = pace_.sent(now, slice_);
    if (just_sent >= kMany && static_cast<int>(just_sent) * kEach > pause_)
      busy_until_ = now + kBusy;
    if (most == Duration::zero() || now < busy_until_) {
      pause_ = Duration::zero();
      co_return;
    }
    pause_ = std::min(most, std::max(kFirstPause, 2 * pause_));
    co_await clock_.sleep_for(pause_ * (768 + spread_) / 1024);
  }

  Task<void> keep() {
    while (true) {
      const TimePoint next = std::min(end_, clock_.now() + bookmark_interval_);
      co_await clock_.sleep_until(next);
      const bool over = clock_.now() >= end_;
      // While events flow nobody needs a bookmark.
      if (!writing_) {
        if (const registry::ItemPtr mark = watcher_->bookmark()) {
          http::Buffers part;
          append(part, {WatchEvent::Type::bookmark, mark});
          const bool sent = co_await write(std::move(part));
          if (!sent) co_return;
        }
      }
      if (!over) continue;
      while (writing_) co_await idle_.wait();
      co_return;
    }
  }

  Clock& clock_;
  http::Exchange& exchange_;
  std::unique_ptr<registry::Watcher> watcher_;
  Presentation presentation_;
  Duration bookmark_interval_;
  TimePoint end_;
  Signal idle_;
  WatchPace& pace_;
  Duration pause_{};
  TimePoint busy_until_{};
  std::uint32_t slice_ = 0;   // the pace's
  std::uint32_t spread_ = 0;  // below 512
  bool writing_ = false;
  bool first_ = true;
};

namespace {

struct Wanted {
  registry::WatchOptions options;
  Duration timeout;
};

Result<Wanted> parse_options(const Context& c, Duration usual, Random& random) {
  const http::Query& q = c.request.query;
  Wanted w;
  w.options.resource_version = q.get("resourceVersion");
  w.options.resource_version_match = q.get("resourceVersionMatch");
  w.options.label_selector = q.get("labelSelector");
  w.options.field_selector = q.get("fieldSelector");
  if (!c.info.name.empty()) {  // /api/v1/watch/.../NAME
    if (!w.options.field_selector.empty()) w.options.field_selector += ',';
    w.options.field_selector += "metadata.name=" + c.info.name;
  }
  if (const std::string* flag = q.find("allowWatchBookmarks")) {
    SKIFF_TRY(w.options.bookmarks, parse_flag(*flag, "allowWatchBookmarks"));
  }
  if (const std::string* flag = q.find("sendInitialEvents")) {
    SKIFF_TRY(w.options.send_initial_events, parse_flag(*flag, "sendInitialEvents"));
  }
  // Spread out, so that watches begun together do not all come back together.
  const auto spread = static_cast<std::uint64_t>(std::max<Duration>(usual, 1ns).count());
  w.timeout = usual + Duration(static_cast<std::int64_t>(random.below(spread)));
  if (const std::string* text = q.find("timeoutSeconds")) {
    std::int64_t seconds = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (error != std::errc() || end != text->data() + text->size()) {
      return Error{Code::bad_request,
                   "strconv.ParseInt: parsing \"" + *text + "\": invalid syntax (timeoutSeconds)"};
    }
    if (seconds > 0) {
      w.timeout = std::min<Duration>(std::chrono::seconds(std::min<std::int64_t>(seconds, 86'400)),
                                     kLongestWatch);
    }
  }
  return w;
}

}  // namespace

Task<Result<std::shared_ptr<WatchSession>>> Service::begin_watch(Context* c,
                                                                 http::Exchange* exchange) {
  if (!c->resource->allows(api::kWatch)) {
    co_return Error{Code::method_not_allowed,
                    "the server does not allow this method on the requested resource"};
  }
  SKIFF_CO_TRY(Presentation p, presentation(*c));
  if (p.form.encoding != Encoding::json) {
    co_return Error{Code::not_acceptable,
                    "only the following media types are accepted for watches: application/json"};
  }
  SKIFF_CO_TRY(const Wanted wanted, parse_options(*c, options_.watch_timeout, *env_.random));
  const TimePoint end = env_.clock->now() + wanted.timeout;
  registry::Target target = target_of(*c);
  target.name.clear();
  SKIFF_CO_CHECK(co_await registry_.catch_up(wanted.options.resource_version, &c->warnings));
  auto watcher = registry_.watch(target, wanted.options);
  if (!watcher && watcher.error().code != Code::expired) co_return watcher.error();
  http::Response head = http::Response::make(200, "application/json", {});
  head.compressible = false;
  finish(*c, head);
  if (!watcher) {
    // Told in the stream, where clients look for it.
    head.body.emplace_back(R"({"type":"ERROR","object":)" + status_json(watcher.error()) + "}\n");
    SKIFF_CO_CHECK(co_await exchange->start(std::move(head)));
    co_return std::shared_ptr<WatchSession>();
  }
  SKIFF_CO_CHECK(co_await exchange->start(std::move(head)));
  co_return std::make_shared<WatchSession>(env_, *exchange, std::move(*watcher), p,
                                           options_.bookmark_interval, end, watch_pace_);
}

Task<void> Service::run_watch(WatchSession* session) { return session->run(); }

}  // namespace skiff::apiserver
