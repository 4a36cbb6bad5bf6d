// What must hold, whatever happens. Servers and clients tell what they see; some of it is judged at
// once, the rest when the run is over and the one true order of all versions is known.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "skiff/store/store.hpp"
#include "world.hpp"

namespace skiff::sim {

// Keys below this may be lost in a crash: they are watched, but not held to account.
inline constexpr std::string_view kLazyPrefix = "vol/";

class Checker {
 public:
  explicit Checker(World& world) : world_(world) {}

  // --- Told by servers.
  void decided(int host, const store::Record& record);
  void published(int host, const store::Event& event);

  // --- Told by clients. A call begins with floor(): what was acknowledged before it.
  store::Revision floor() const { return floor_; }
  struct Begun {
    store::Revision floor = 0;
    Duration at{};
  };
  void acknowledged(int client, const store::Op& op, const store::ItemPtr& got, Begun begun);
  void refused(int client, const store::Op& op, Code code, store::Revision floor);
  struct Read {
    int client = 0;
    int server = 0;
    store::Range range;
    store::Revision revision = 0;  // the state that was shown
    std::vector<store::ItemPtr> items;
    bool linearizable = false;
    Duration when{};  // set here
  };
  void read(Read read, Begun begun);

  // Everything a watch was given between two interruptions.
  struct Segment {
    int client = 0;
    store::Range range;
    std::optional<std::pair<std::string, std::string>> attribute;
    store::Revision after = 0;
    store::Revision loaded = 0;  // up to here the server knew the past from its disk only
    store::Revision upto = 0;    // bookmark, or the last event
    std::vector<store::Event> events;
  };
  void watched(Segment segment);

  // Puts everything in order and judges it. Call once, at the end.
  void finish();

  store::Revision newest() const { return truth_.empty() ? 0 : truth_.rbegin()->first; }
  std::size_t versions() const { return truth_.size(); }

 private:
  struct Version {
    store::ItemPtr item;
    store::Revision previous = 0;
    bool erase = false;
  };
  struct Refusal {
    int client = 0;
    std::string key;
    store::Op::Type type = store::Op::Type::put;
    std::optional<store::Revision> expect;
    Code code = Code::conflict;
    store::Revision low = 0;
    store::Revision high = 0;
  };

  // One client's certainty: between the two times, the key was at (or became) this version.
  struct Seen {
    store::Revision revision = 0;  // written; or of the state that was read
    bool write = false;
    int client = 0;
    Duration called{};
    Duration answered{};
  };

  void add(int host, Version version);
  void fold();
  void check_read(const Read& read, const std::map<std::string, const Version*>& state);
  void check_refusal(const Refusal& refusal);
  void check_key(const std::string& key, std::vector<Seen>& seen);
  void check_segment(const Segment& segment);

  World& world_;
  std::map<store::Revision, Version> truth_;
  std::map<std::string, std::vector<const Version*>> by_key_;  // made by fold()
  std::map<store::Revision, std::string> acks_;                // value of each acknowledged write
  std::map<std::string, std::vector<Seen>> seen_;
  store::Revision floor_ = 1;
  std::vector<Read> reads_;
  std::vector<Refusal> refusals_;
  std::vector<Segment> segments_;
};

}  // namespace skiff::sim
