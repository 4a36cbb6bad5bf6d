// Whatever goes wrong, when the seed says so.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "client.hpp"
#include "run.hpp"

namespace skiff::sim {

class Nemesis {
 public:
  Nemesis(Field& field, std::vector<std::unique_ptr<Node>>& nodes, std::vector<int> clients,
          bool shared, std::uint32_t without);
  Task<void> run();
  // Everything works again; what is down is started.
  void heal();

 private:
  bool has(Fault fault) const { return (kinds_ >> static_cast<unsigned>(fault) & 1U) != 0; }
  void act(Fault fault);
  Node& any() { return *nodes_[dice_.below(nodes_.size())]; }
  Node* leader();
  Node& target();
  void later(Duration d, std::function<void()> f);
  void crash(Node& node);
  void partition(bool one_way);
  void disk_trouble(Fault fault);
  void set_network();
  void transfer();
  void change_members();
  Task<void> remove_and_return(Node& node);
  Duration a_while() { return dice_.between(50ms, dice_.chance(0.2) ? 15s : 4s); }

  Field& field_;
  std::vector<std::unique_ptr<Node>>& nodes_;
  std::vector<int> clients_;
  bool shared_;
  Dice dice_;
  std::uint32_t kinds_ = 0;
  std::vector<Fault> enabled_;
  Duration pace_;
  bool over_ = false;
  bool changing_ = false;
  std::uint64_t identities_ = 0;
};

}  // namespace skiff::sim
