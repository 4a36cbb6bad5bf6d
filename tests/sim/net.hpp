// The network between hosts. Datagrams (servers among themselves) are lost, repeated, delayed,
// damaged and overtake each other; streams (clients) only arrive late, or break.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "world.hpp"

namespace skiff::sim {

class Net {
 public:
  explicit Net(World& world) : world_(world), dice_(world.dice("net")) {}

  struct Manners {
    Duration low = std::chrono::microseconds(200);
    Duration high = std::chrono::milliseconds(3);
    double loss = 0;
    double duplicate = 0;
    double late = 0;  // chance that a message is overtaken by those of the next half second
    double damage = 0;
  };
  Manners manners;

  // One way. The frame may come not at all, twice, late, or altered.
  void datagram(int from, int to, std::string frame, std::function<void(std::string)> deliver);
  // In time or late; false: cannot get there now.
  bool message(int from, int to, std::function<void()> deliver);
  // When a message sent now would arrive.
  Duration delay(int from, int to);

  bool cut(int from, int to) const { return cut_.count({from, to}) != 0; }
  void cut_one_way(int from, int to) { cut_.insert({from, to}); }
  void slow(int from, int to, double factor) { slow_[{from, to}] = factor; }
  void heal();

  // A paused host's messages wait for it.
  void hold(int host) { held_[host]; }
  void release(int host);

 private:
  void arrive(int to, Duration delay, std::function<void()> deliver);

  World& world_;
  Dice dice_;
  std::set<std::pair<int, int>> cut_;
  std::map<std::pair<int, int>, double> slow_;
  std::map<int, std::vector<std::function<void()>>> held_;
};

}  // namespace skiff::sim
