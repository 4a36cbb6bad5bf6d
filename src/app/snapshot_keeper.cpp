// Scheduled snapshots, and those that are asked for.
#include <algorithm>
#include <filesystem>

#include "snapshot.hpp"

namespace skiff::app {
namespace {

namespace fs = std::filesystem;
using api::Value;
using store::SnapshotInfo;

constexpr std::string_view kPrefix = "skiff-";
constexpr std::string_view kSuffix = ".snapshot";
constexpr std::string_view kAside = ".aside-";
constexpr Duration kRetry = 10min;
constexpr std::size_t kStampLength = 16;  // 20261124T101500Z

// "2026-11-24T10:15:00Z" as "20261124T101500Z".
std::string stamp(WallTime t) {
  std::string text = format_time(t);
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

std::optional<WallTime> stamp_time(const std::string& file) {
  if (file.size() < kPrefix.size() + kStampLength) return std::nullopt;
  const std::string s = file.substr(kPrefix.size(), kStampLength);
  const auto t = parse_time(s.substr(0, 4) + "-" + s.substr(4, 2) + "-" + s.substr(6, 5) + ":" +
                            s.substr(11, 2) + ":" + s.substr(13));
  if (!t) return std::nullopt;
  return *t;
}

bool is_kept(const std::string& file) {
  return file.starts_with(kPrefix) && file.ends_with(kSuffix) &&
         file.find("Z-r") == kPrefix.size() + kStampLength - 1 && stamp_time(file);
}

Result<void> make_directory(const std::string& path) {
  std::error_code ec;
  fs::create_directories(path, ec);
  if (ec) return errno_error(ec.value(), "cannot make the snapshot directory " + path);
  fs::permissions(path, fs::perms::owner_all, ec);
  // What a process that was killed left behind.
  for (const auto& entry : fs::directory_iterator(path, ec)) {
    if (entry.path().filename().string().starts_with(kAside)) fs::remove(entry.path(), ec);
  }
  return {};
}

// Deletes what is beyond `keep`, once the newest has been read to its end.
Result<void> retire(const std::string& newest, const std::string& directory, std::size_t keep) {
  SKIFF_TRY([[maybe_unused]] const SnapshotInfo whole, store::check_snapshot(newest));
  const std::vector<std::string> files = kept_snapshots(directory);
  for (std::size_t i = 0; i + keep < files.size(); ++i) {
    std::error_code ec;
    const fs::path old = fs::path(directory) / files[i];
    if (old != fs::path(newest)) fs::remove(old, ec);
  }
  return {};
}

}  // namespace

std::vector<std::string> kept_snapshots(const std::string& directory) {
  std::vector<std::string> out;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    const std::string name = entry.path().filename();
    if (is_kept(name)) out.push_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<Value> describe_snapshots(const std::string& directory) {
  std::error_code ec;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    const std::string name = entry.path().filename();
    if (name.ends_with(kSuffix) && !name.starts_with('.')) names.push_back(name);
  }
  if (ec) return errno_error(ec.value(), directory);
  std::sort(names.begin(), names.end());
  Value list = Value::array();
  for (const std::string& name : names) {
    Value one = Value::object({{"file", name}});
    const auto info = store::check_snapshot((fs::path(directory) / name).string());
    one.set("whole", info.has_value());
    if (info) {
      one.set("revision", info->revision);
      one.set("time", format_time(info->time));
      one.set("keys", static_cast<std::int64_t>(info->keys));
      one.set("bytes", static_cast<std::int64_t>(info->bytes));
      one.set("cluster", info->cluster);
    } else {
      one.set("problem", info.error().message);
    }
    list.push_back(std::move(one));
  }
  return list;
}

SnapshotKeeper::SnapshotKeeper(Env env, KeeperOptions options, Save save, Newest newest)
    : env_(env),
      options_(std::move(options)),
      save_(std::move(save)),
      newest_(std::move(newest)),
      idle_(env.executor) {
  options_.keep = std::max<std::size_t>(options_.keep, 1);
}

Task<Result<SnapshotInfo>> SnapshotKeeper::take_one(std::string path, bool kept) {
  const std::string directory = options_.directory;
  std::function<Result<void>()> prepare = [directory] { return make_directory(directory); };
  SKIFF_CO_CHECK(co_await env_.blocking->run(prepare));
  SKIFF_CO_TRY(const SnapshotInfo info, co_await save_(path));
  if (!kept) co_return info;
  const std::size_t keep = options_.keep;
  std::function<Result<void>()> tidy = [path, directory, keep] {
    return retire(path, directory, keep);
  };
  SKIFF_CO_CHECK(co_await env_.blocking->run(tidy));
  last_ = info.revision;
  last_time_ = info.time;
  co_return info;
}

Task<Result<SnapshotInfo>> SnapshotKeeper::take(bool aside) {
  while (busy_) co_await idle_.wait();
  busy_ = true;
  // Freed however this ends, also by cancellation.
  const auto release = [this](void*) {
    busy_ = false;
    idle_.notify_all();
  };
  const std::unique_ptr<void, decltype(release)> held(this, release);
  std::string name = std::string(kAside) + env_.random->uuid() + std::string(kSuffix);
  if (!aside) {
    name = std::string(kPrefix) + stamp(env_.clock->wall()) + "-r" + std::to_string(newest_()) +
           std::string(kSuffix);
  }
  Result<SnapshotInfo> done = co_await take_one(options_.directory + "/" + name, !aside);
  trouble_ = done ? "" : done.error().message;
  co_return done;
}

Task<Result<Value>> SnapshotKeeper::report() {
  const std::string directory = options_.directory;
  std::function<Result<Value>()> look = [directory]() -> Result<Value> {
    std::error_code ec;
    if (!fs::exists(directory, ec)) return Value::array();
    return describe_snapshots(directory);
  };
  SKIFF_CO_TRY(Value items, co_await env_.blocking->run(look));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options_.every).count();
  Value doc = Value::object({{"directory", options_.directory}, {"everySeconds", seconds}});
  doc.set("keep", static_cast<std::int64_t>(options_.keep));
  if (last_time_ != WallTime{}) doc.set("last", format_time(last_time_));
  if (!trouble_.empty()) doc.set("trouble", trouble_);
  doc.set("items", std::move(items));
  co_return doc;
}

Task<Duration> SnapshotKeeper::first_wait() {
  const std::string directory = options_.directory;
  std::function<std::vector<std::string>()> look = [directory] {
    return kept_snapshots(directory);
  };
  const std::vector<std::string> files = co_await env_.blocking->run(look);
  if (files.empty()) co_return Duration::zero();
  last_time_ = *stamp_time(files.back());
  // A clock that was wrong must not put it off for ever.
  const Duration age = env_.clock->wall() - last_time_;
  co_return std::clamp(options_.every - age, Duration::zero(), options_.every);
}

Task<void> SnapshotKeeper::run() {
  if (options_.every <= Duration::zero()) co_return;
  Duration wait = co_await first_wait();
  while (true) {
    co_await env_.clock->sleep_for(wait);
    wait = options_.every;
    if (newest_() == last_) continue;
    const Result<SnapshotInfo> done = co_await take(false);
    if (done) {
      log::info("app", "snapshot taken",
                {{"file", done->path}, {"revision", done->revision}, {"bytes", done->bytes}});
    } else {
      wait = std::min(options_.every, kRetry);
      log::error("app", "no snapshot was taken; it will be tried again", {{"error", done.error()}});
    }
  }
}

}  // namespace skiff::app
