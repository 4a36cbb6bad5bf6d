// Runs testdata/*.txt: blocks of a command, its further lines, "----" and what it prints. A command
// may begin with @N: on server N, after "servers COUNT" has made several over one shared log. With
// SKIFF_REWRITE set the files are written anew from what was printed; read the difference before
// keeping it.
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fixture_shared.hpp"
#include "skiff/base/log.hpp"

namespace skiff::store::testing {
namespace {

using Words = std::vector<std::string>;

Words split_words(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// The value of "name=value" among the words.
std::optional<std::string> option(const Words& words, const std::string& name) {
  for (const auto& word : words) {
    if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
  }
  return std::nullopt;
}

Revision number(const Words& words, const std::string& name) {
  const auto text = option(words, name);
  return text ? std::stoll(*text) : 0;
}

std::pair<std::string, std::string> parse_attribute(const std::string& text) {
  const std::size_t colon = text.find(':');
  return {text.substr(0, colon), text.substr(colon + 1)};
}

class Script {
 public:
  Script()
      : control_(std::make_shared<FakeLog::Control>(loop_.executor())),
        shared_(std::make_shared<SharedState>(loop_.executor())) {
    open({});
  }
  ~Script() {
    control_->held = false;
    control_->released.notify_all();
    shared_->held = false;
    for (auto& [number, server] : shared_->servers) server->slow = false;
    shared_->released.notify_all();
    loop_.settle();
    for (auto& [number, server] : servers_) close(server);
  }

  std::string run(std::string command, const std::vector<std::string>& lines) {
    at_ = 1;
    if (command[0] == '@') {
      const std::size_t space = command.find(' ');
      at_ = std::stoi(command.substr(1, space));
      command = command.substr(space + 1);
    }
    return dispatch(command, lines);
  }

 private:
  struct Server {
    std::unique_ptr<Store> store;
    std::map<std::string, std::unique_ptr<Watch>> watches;
  };
  Store& store() { return *servers_.at(at_).store; }
  SharedLog& shared_log() { return *shared_->servers.at(at_); }

  std::string dispatch(const std::string& command, const std::vector<std::string>& lines) {
    const Words words = split_words(command);
    const std::string& verb = words[0];
    if (verb == "commit") return commit(words, lines);
    if (verb == "result") return result(words[1]);
    if (verb == "get" || verb == "get-at") return get(words);
    if (verb == "range" || verb == "range-at") return range(words);
    if (verb == "watch") return watch(words);
    if (verb == "poll") return poll(words[1]);
    if (verb == "unwatch") {
      return servers_.at(at_).watches.erase(words[1]) ? "" : "no such watch\n";
    }
    if (verb == "compact") return show(loop_.run(store().compact(std::stoll(words[1]))));
    if (verb == "history") return history(words);
    if (verb == "barrier") return barrier(words);
    if (verb == "decider") return decider();
    if (verb == "servers") return make_servers(std::stoi(words[1]));
    if (verb == "restart") return restart(words);
    if (verb == "leader") return leader(words[1] == "nobody" ? 0 : std::stoi(words[1]));
    if (verb == "shared") return shared(words, command);
    if (verb == "log") return log(words, command);
    if (verb == "sleep") {
      loop_.clock.run_for(loop_.io(), std::chrono::seconds(std::stoll(words[1])));
      return "";
    }
    if (verb == "options") return options(words);
    if (verb == "status") return status();
    return "unknown command\n";
  }

  static std::string show(const Result<void>& outcome) {
    return outcome ? "ok\n" : show(outcome.error());
  }
  static std::string show(const Error& error) {
    return std::string(name_of(error.code)) + ": " + error.message + "\n";
  }
  static std::string show(const Item& item) {
    std::string out = item.key + "=" + item.value + " @" + std::to_string(item.modified);
    if (item.created != item.modified) out += " created " + std::to_string(item.created);
    return out;
  }

  void open(StoreOptions options) {
    options_ = options;
    auto log = std::make_unique<FakeLog>(control_);
    servers_[1].store = std::move(*loop_.run(Store::open(loop_.env(), std::move(log), options)));
  }
  void open_shared(int number) {
    auto log = std::make_unique<SharedLog>(shared_, number);
    auto store = Store::open(loop_.env(), std::move(log), options_);
    servers_[number].store = std::move(*loop_.run(std::move(store)));
  }
  void close(Server& server) {
    server.watches.clear();
    (void)loop_.run(server.store->close());
    loop_.settle();
    server.store.reset();
  }

  std::string options(const Words& words) {
    StoreOptions options;
    if (const auto v = option(words, "max-value")) options.max_value_bytes = std::stoull(*v);
    if (const auto v = option(words, "history"))
      options.history = std::chrono::seconds(std::stoll(*v));
    if (const auto v = option(words, "history-bytes")) options.history_bytes = std::stoull(*v);
    close(servers_.at(1));
    open(options);
    return "";
  }

  std::string make_servers(int count) {
    close(servers_.at(1));
    for (int n = 1; n <= count; ++n) open_shared(n);
    return "";
  }
  // restart [resumable=N] [slow]
  std::string restart(const Words& words) {
    close(servers_.at(at_));
    if (option(words, "resumable")) shared_->resumable = number(words, "resumable");
    open_shared(at_);
    shared_log().slow = words.back() == "slow";
    return "";
  }
  std::string leader(int number) {
    shared_->leader = number;
    for (auto& [n, server] : shared_->servers) server->user().decider_changed();
    loop_.settle();
    return "";
  }
  // shared hold | release | lose MESSAGE... | keep-lost | drop-lost | reads
  // @N shared lag | catch-up | snapshot | cut | mend | fast
  std::string shared(const Words& words, const std::string& command) {
    const std::string& what = words[1];
    if (what == "hold") shared_->held = true;
    if (what == "release") shared_->held = false;
    if (what == "lose") shared_->lost = command.substr(12);
    if (what == "release" || what == "lose") {
      shared_->released.notify_all();
      loop_.settle();
      shared_->lost.reset();
    }
    if (what == "keep-lost") shared_->commit(std::exchange(shared_->limbo, {}), 0);
    if (what == "drop-lost") shared_->limbo.clear();
    if (what == "lag") shared_log().lagging = true;
    if (what == "catch-up") {
      shared_log().lagging = false;
      shared_log().catch_up();
    }
    if (what == "snapshot") {
      shared_log().lagging = false;
      shared_log().receive_snapshot();
    }
    if (what == "cut" || what == "mend") {
      shared_log().cut = what == "cut";
      shared_log().user().decider_changed();
    }
    if (what == "fast") {
      shared_log().slow = false;
      shared_->released.notify_all();
    }
    loop_.settle();
    if (what == "reads") return std::to_string(std::exchange(shared_->reads, 0)) + "\n";
    return "";
  }
  std::string decider() {
    switch (store().decider()) {
      case Decider::here:
        return "here\n";
      case Decider::elsewhere:
        return "elsewhere\n";
      case Decider::nobody:
        break;
    }
    return "nobody\n";
  }

  static Task<void> barrier_task(Store* store, std::string* out) {
    const auto reached = co_await store->barrier();
    *out = reached ? "at " + std::to_string(*reached) + "\n" : show(reached.error());
  }
  std::string barrier(const Words& words) {
    const std::string name = words.size() > 1 ? words[1] : "";
    results_[name].clear();
    loop_.spawn(barrier_task(&store(), &results_[name]));
    loop_.settle();
    return result(name);
  }

  // history RANGE [after=N] [until=N] [limit=N]
  std::string history(const Words& words) {
    const auto limit = static_cast<std::size_t>(number(words, "limit"));
    const auto records = loop_.run(
        store().history(parse_range(words), number(words, "after"), number(words, "until"), limit));
    if (!records) return show(records.error());
    std::string out;
    for (const Record& r : *records) {
      out += (r.erase ? "erase " : "put ") + show(*r.item);
      if (r.previous != 0) out += " over " + std::to_string(r.previous);
      if (r.author) out += " by " + *r.author;
      out += "\n";
    }
    return out.empty() ? "nothing\n" : out;
  }

  static Op parse_op(const Words& words) {
    Op op;
    op.type = words[0] == "erase" ? Op::Type::erase : Op::Type::put;
    op.key = words[1];
    for (std::size_t i = 2; i < words.size(); ++i) {
      if (words[i] == "volatile") {
        op.is_volatile = true;
      } else if (words[i].starts_with("attr=")) {
        op.attributes.push_back(parse_attribute(words[i].substr(5)));
      } else if (words[i].find('=') == std::string::npos) {
        op.value = words[i];
      }
    }
    if (const auto v = option(words, "by")) op.author = std::make_shared<const std::string>(*v);
    if (const auto v = option(words, "expect")) op.expect = std::stoll(*v);
    if (const auto v = option(words, "slot"))
      op.revision_slot = static_cast<std::uint32_t>(std::stoul(*v));
    return op;
  }

  static Task<void> commit_task(Store* store, std::vector<Op> ops, std::string* out) {
    std::vector<std::string> keys;
    for (const Op& op : ops) keys.push_back(op.key);
    const auto verdicts = co_await store->commit(std::move(ops));
    for (std::size_t i = 0; i < verdicts.size(); ++i) {
      *out += verdicts[i] ? "ok " + show(**verdicts[i]) + "\n" : show(verdicts[i].error());
    }
    if (out->empty()) *out = "nothing\n";
  }

  // commit [NAME]: with the log held it is left waiting under that name.
  std::string commit(const Words& words, const std::vector<std::string>& lines) {
    std::vector<Op> ops;
    for (const auto& line : lines) ops.push_back(parse_op(split_words(line)));
    const std::string name = words.size() > 1 ? words[1] : "";
    results_[name].clear();
    loop_.spawn(commit_task(&store(), std::move(ops), &results_[name]));
    loop_.settle();
    return result(name);
  }
  std::string result(const std::string& name) {
    return results_[name].empty() ? "waiting\n" : results_[name];
  }

  std::string get(const Words& words) {
    const bool past = words[0] == "get-at";
    const auto item = past ? loop_.run(store().get_at(words[1], number(words, "at")))
                           : store().get(words[1], number(words, "at"));
    return item ? show(**item) + "\n" : show(item.error());
  }

  static Range parse_range(const Words& words) {
    if (const auto p = option(words, "prefix")) return Range::prefix(*p);
    if (const auto k = option(words, "key")) return Range::key(*k);
    return {option(words, "from").value_or(""), option(words, "to").value_or("")};
  }

  std::string range(const Words& words) {
    const auto limit = static_cast<std::size_t>(number(words, "limit"));
    const bool past = words[0] == "range-at";
    const auto page =
        past ? loop_.run(store().range_at(parse_range(words), limit, number(words, "at")))
             : store().range(parse_range(words), limit, number(words, "at"));
    if (!page) return show(page.error());
    std::string out;
    for (const auto& item : page->items) out += show(*item) + "\n";
    out += "at " + std::to_string(page->revision);
    if (page->more) out += ", " + std::to_string(page->remaining) + " more";
    return out + "\n";
  }

  std::string watch(const Words& words) {
    WatchOptions options;
    options.range = parse_range(words);
    options.after = number(words, "after");
    if (const auto max = option(words, "max")) options.max_pending = std::stoull(*max);
    if (const auto a = option(words, "attr")) options.attribute = parse_attribute(*a);
    auto watch = store().watch(std::move(options));
    if (!watch) return show(watch.error());
    servers_.at(at_).watches[words[1]] = std::move(*watch);
    loop_.settle();
    return "ok\n";
  }

  std::string poll(const std::string& name) {
    Watch& watch = *servers_.at(at_).watches.at(name);
    const auto events = watch.poll();
    const std::string through = "through " + std::to_string(watch.progress()) + "\n";
    if (!events) return show(events.error()) + through;
    std::string out;
    for (const Event& event : *events) {
      out += event.type == Event::Type::put ? "put " : "erase ";
      out += show(*event.item);
      if (event.previous) out += " was " + event.previous->value;
      out += "\n";
    }
    return out + through;
  }

  // log fail MESSAGE... | ok | hold | release | appends
  std::string log(const Words& words, const std::string& command) {
    if (words[1] == "fail") control_->failure = Error{Code::unavailable, command.substr(9)};
    if (words[1] == "ok") control_->failure.reset();
    if (words[1] == "hold") control_->held = true;
    if (words[1] == "release") {
      control_->held = false;
      control_->released.notify_all();
      loop_.settle();
    }
    if (words[1] != "appends") return "";
    std::string out;
    for (const std::size_t n : control_->appends) out += std::to_string(n) + "\n";
    control_->appends.clear();
    return out;
  }

  std::string status() {
    const auto failing = store().failing();
    return "revision " + std::to_string(store().revision()) + ", compacted " +
           std::to_string(store().compacted()) +
           (store().window() != store().compacted() ? ", window " + std::to_string(store().window())
                                                    : "") +
           (failing ? ", failing: " + failing->message : "") + "\n";
  }

  Loop loop_;
  std::shared_ptr<FakeLog::Control> control_;
  std::shared_ptr<SharedState> shared_;
  std::map<int, Server> servers_;
  int at_ = 1;  // the server that the command is for
  StoreOptions options_;
  std::map<std::string, std::string> results_;
};

void run_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string rewritten;
  log::set_level(log::Level::off);  // failures are on purpose
  Script script;
  std::string line;
  int number = 0;
  while (std::getline(in, line)) {
    ++number;
    if (line.empty() || line.starts_with("#")) {
      rewritten += line + "\n";
      continue;
    }
    const std::string command = line;
    const int at = number;
    std::vector<std::string> lines;
    rewritten += command + "\n";
    while (++number, std::getline(in, line) && line != "----") {
      lines.push_back(line);
      rewritten += line + "\n";
    }
    std::string expected;
    while (++number, std::getline(in, line) && !line.empty()) expected += line + "\n";
    const std::string printed = script.run(command, lines);
    rewritten += "----\n" + printed + "\n";
    INFO(path.filename().string() << ":" << at << ": " << command);
    if (std::getenv("SKIFF_REWRITE") == nullptr) CHECK(printed == expected);
  }
  log::set_level(log::Level::info);
  if (std::getenv("SKIFF_REWRITE") != nullptr) {
    while (rewritten.ends_with("\n\n")) rewritten.pop_back();
    std::ofstream(path) << rewritten;
  }
}

TEST_CASE("scripts") {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(SKIFF_TESTDATA)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  REQUIRE(!files.empty());
  for (const auto& file : files) {
    DYNAMIC_SECTION(file.stem().string()) { run_file(file); }
  }
}

}  // namespace
}  // namespace skiff::store::testing
