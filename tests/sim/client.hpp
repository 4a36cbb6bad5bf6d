// Those who use the servers: writers and readers, and watchers.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "checker.hpp"
#include "net.hpp"
#include "node.hpp"

namespace skiff::sim {

// What clients share.
struct Field {
  World& world;
  Net& net;
  Checker& checker;
  std::vector<Node*> servers;  // that exist; some may be down
  bool over = false;           // clients end after their current call
};

class Client {
 public:
  Client(Field& field, int host);
  Task<void> run();

  // One call to one server. Empty: no answer in time.
  Task<std::optional<Answer>> call(Node& node, std::function<void(Node&, Reply)> request);

 private:
  enum class Fate : std::uint8_t { done, refused, unsent, unknown };
  std::string key();
  store::Op make_op();
  void vary(store::Op& op);
  Task<void> write();
  Task<Fate> attempt(std::vector<store::Op> ops);
  Fate judge(const store::Op& op, const Result<store::ItemPtr>& verdict, Checker::Begun begun);
  Task<void> read();
  void learn(const store::ItemPtr& item, bool erased);

  Field& field_;
  int host_;
  Dice dice_;
  std::uint64_t made_ = 0;
  std::map<std::string, store::Revision> seen_;  // newest known version of a key; 0: none
  Duration pace_;
  Duration patience_;
  int favourite_ = 0;
};

// Follows a range through every break, as an informer does.
class Watcher {
 public:
  Watcher(Field& field, int host);
  Task<void> run();
  void end();  // what is left to be judged

 private:
  Task<bool> list();
  Task<void> follow();
  bool take(const Stream::Message& message);
  void finish_segment();

  Field& field_;
  int host_;
  Dice dice_;
  Client caller_;
  store::Range range_;
  std::optional<std::pair<std::string, std::string>> attribute_;
  std::size_t max_pending_;
  bool slow_;
  store::Revision reached_ = 0;  // everything up to here was seen; 0: must list
  Checker::Segment segment_;
};

}  // namespace skiff::sim
