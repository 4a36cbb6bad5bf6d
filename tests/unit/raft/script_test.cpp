// Scripts: testdata/*.txt. A line is a command, what follows with "> " is what it must say.
//   cluster N              servers 1..N, all voters, 1 leads
//   keep BYTES             of entries, before "cluster"
//   run TIME               500ms, 2s
//   put SERVER KEY VALUE   says the revision, or why not
//   get SERVER KEY...      what its store shows
//   read SERVER            a linearizable read: the revision
//   state SERVER...        leader, follower...; and who it thinks leads
//   members SERVER         with roles
//   crash, start, stop SERVER;  wipe SERVER (its disk);  add, promote, remove, hand SERVER (asked
//   of SERVER by another: "add 4 at 2");  reset SERVER cut A B, oneway A B, isolate A, heal full
//   SERVER, room SERVER leader                 waits until there is one: says which
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cluster.hpp"

using namespace skiff;
using namespace skiff::raft;
using namespace skiff::raft::test;

namespace {

using Words = std::vector<std::string>;

std::string said(const Result<void>& r) { return r ? "ok" : r.error().message; }

class Script {
 public:
  std::string run(const Words& w) {
    if (const auto it = kCommands.find(w[0]); it != kCommands.end()) return (this->*it->second)(w);
    return "unknown command " + w[0];
  }

 private:
  using Command = std::string (Script::*)(const Words&);
  static const std::map<std::string, Command> kCommands;

  static Id id(const std::string& text) { return std::stoull(text); }
  Node& node(const std::string& text) { return c_.nodes[id(text)]; }

  std::string cluster(const Words& w) {
    c_.make(id(w[1]));
    return "";
  }
  std::string keep(const Words& w) {
    c_.keep_bytes = id(w[1]);
    c_.apply_bytes = c_.keep_bytes / 4;
    return "";
  }
  std::string time(const Words& w) {
    const bool ms = w[1].ends_with("ms");
    const auto n = static_cast<long>(std::stol(w[1]));
    c_.loop.run(ms ? Duration(std::chrono::milliseconds(n)) : Duration(std::chrono::seconds(n)));
    return "";
  }
  std::string put(const Words& w) {
    const auto r = c_.put(id(w[1]), w[2], w[3]);
    return r ? "revision " + std::to_string(*r) : r.error().message;
  }
  std::string fill(const Words& w) {
    for (Id i = 0; i < id(w[2]); ++i) {
      const auto r = c_.put(id(w[1]), "fill" + std::to_string(i), std::string(200, 'x'));
      if (!r) return r.error().message;
    }
    return "";
  }
  std::string get(const Words& w) {
    std::string out;
    for (std::size_t i = 2; i < w.size(); ++i) {
      const auto& values = node(w[1]).user->values;
      const auto it = values.find(w[i]);
      out += (i > 2 ? " " : "") + w[i] + "=" + (it == values.end() ? "none" : it->second);
    }
    return out;
  }
  std::string read(const Words& w) {
    const auto r = c_.wait(node(w[1]).log->barrier());
    return r ? "revision " + std::to_string(*r) : r.error().message;
  }
  std::string state(const Words& w) {
    std::string out;
    for (std::size_t i = 1; i < w.size(); ++i) {
      const RaftStatus s = node(w[i]).log->status();
      out += (i > 1 ? ", " : "") + w[i] + " " + s.state;
      if (s.state == "follower" && s.leader != 0) out += " of " + std::to_string(s.leader);
    }
    return out;
  }
  std::string members(const Words& w) {
    std::string out;
    for (const PeerStatus& p : node(w[1]).log->status().servers) {
      out += (out.empty() ? "" : ", ") + std::to_string(p.server.id) + " " +
             std::string(name_of(p.server.role));
    }
    return out;
  }
  std::string trouble(const Words& w) {
    std::string out;
    for (const PeerStatus& p : node(w[1]).log->status().servers) {
      if (!p.healthy) out += std::to_string(p.server.id) + ": " + p.trouble + "\n";
    }
    return out.empty() ? "none" : out.substr(0, out.size() - 1);
  }
  std::string crash(const Words& w) {
    c_.crash(id(w[1]));
    return "";
  }
  std::string stop(const Words& w) {
    c_.stop(id(w[1]));
    return "";
  }
  std::string start(const Words& w) {
    const auto r = c_.start(id(w[1]), Start::join);
    return r ? "" : r.error().message;
  }
  std::string wipe(const Words& w) {
    node(w[1]).disk = std::make_shared<Disk>();
    return "";
  }
  // "VERB SERVER at ASKED"
  std::string change(const Words& w) {
    RaftLog& log = *node(w[3]).log;
    Server server;
    server.id = id(w[1]);
    server.address = Cluster::address(server.id);
    if (w[0] == "add") return said(c_.wait(log.add(server)));
    if (w[0] == "promote") return said(c_.wait(log.promote(server.id), 120s));
    if (w[0] == "remove") return said(c_.wait(log.remove(server.id)));
    return said(c_.wait(log.transfer_leadership(server.id)));
  }
  std::string reset(const Words& w) {
    return said(c_.wait(node(w[1]).log->reset_to_lone_survivor()));
  }
  std::string cut(const Words& w) {
    if (w[0] == "isolate") {
      c_.wires.isolate(id(w[1]), c_.ids());
      return "";
    }
    c_.wires.cut.insert({id(w[1]), id(w[2])});
    if (w[0] == "cut") c_.wires.cut.insert({id(w[2]), id(w[1])});
    return "";
  }
  std::string heal(const Words&) {
    c_.wires.cut.clear();
    return "";
  }
  std::string disk(const Words& w) {
    node(w[1]).disk->full = w[0] == "full";
    return "";
  }
  std::string leader(const Words&) {
    const Id found = c_.wait_leader();
    return found == 0 ? "none" : std::to_string(found);
  }

  Cluster c_;
};

const std::map<std::string, Script::Command> Script::kCommands = {
    {"cluster", &Script::cluster}, {"keep", &Script::keep},     {"run", &Script::time},
    {"put", &Script::put},         {"fill", &Script::fill},     {"get", &Script::get},
    {"read", &Script::read},       {"state", &Script::state},   {"members", &Script::members},
    {"trouble", &Script::trouble}, {"crash", &Script::crash},   {"stop", &Script::stop},
    {"start", &Script::start},     {"wipe", &Script::wipe},     {"add", &Script::change},
    {"promote", &Script::change},  {"remove", &Script::change}, {"hand", &Script::change},
    {"reset", &Script::reset},     {"cut", &Script::cut},       {"oneway", &Script::cut},
    {"isolate", &Script::cut},     {"heal", &Script::heal},     {"full", &Script::disk},
    {"room", &Script::disk},       {"leader", &Script::leader},
};

// The file as it should be.
std::string replayed(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string out;
  Script script;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("> ")) continue;
    out += line + "\n";
    if (line.empty() || line.starts_with("#")) continue;
    std::istringstream words(line);
    Words w;
    for (std::string word; words >> word;) w.push_back(word);
    std::istringstream answer(script.run(w));
    for (std::string said; std::getline(answer, said);) out += "> " + said + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("scripts", "[raft][script]") {
  for (const auto& file : std::filesystem::directory_iterator(SKIFF_TESTDATA)) {
    if (file.path().extension() != ".txt") continue;
    DYNAMIC_SECTION(file.path().filename().string()) {
      std::ifstream in(file.path());
      const std::string want{std::istreambuf_iterator<char>(in), {}};
      const std::string got = replayed(file.path());
      if (std::getenv("SKIFF_WRITE_SCRIPTS") != nullptr) std::ofstream(file.path()) << got;
      CHECK(got == want);
    }
  }
}
