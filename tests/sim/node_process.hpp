// What dies with a process.
#pragma once

#include "node.hpp"

namespace skiff::sim {

// The servers' network as one process sees it.
inline constexpr std::size_t kInTransit = 256;  // frames to one peer

class Node::Port final : public raft::Network {
 public:
  Port(Node& node, LifePtr life) : node_(node), life_(std::move(life)) {}

  bool send(const raft::Server& to, std::string frame) override {
    if (!life_->alive || !to.address.starts_with("https://s")) return true;
    const int host = std::stoi(to.address.substr(9));
    if (in_transit_[host] >= kInTransit) return false;
    ++in_transit_[host];
    Node* node = &node_;
    node_.world_.after(std::chrono::milliseconds(5), [this, life = life_, host] {
      if (life->alive) --in_transit_[host];
    });
    node_.net_.datagram(node_.host_, host, std::move(frame), [node, host](std::string bytes) {
      Node* peer = node->peers(host);
      if (peer != nullptr) peer->receive(std::move(bytes));
    });
    return true;
  }
  void receive(Receiver receiver) override { receiver_ = std::move(receiver); }
  void set_peers(const raft::Servers&) override {}
  void arrived(std::string frame) {
    if (life_->alive && receiver_) receiver_(std::move(frame));
  }

 private:
  Node& node_;
  LifePtr life_;
  Receiver receiver_;
  std::map<int, std::size_t> in_transit_;
};

struct Node::Process {
  Process(Node& node, std::uint64_t seed)
      : random(seed),
        port(node, life),
        opening(node.world_.executor()),
        taps(node.world_.executor()),
        tasks(node.world_.executor()) {
    env.executor = node.world_.executor();
    env.clock = &node.clock;
    env.random = &random;
    env.metrics = &metrics;
    env.blocking = &blocking;
  }
  LifePtr life = std::make_shared<Life>();
  SeededRandom random;
  metrics::Registry metrics;
  BlockingPool blocking{0};
  Env env;
  Port port;
  std::unique_ptr<raft::Entries> entries;
  raft::RaftLog* raft = nullptr;  // while `store` lives
  raft::RaftLog* raft_opening = nullptr;
  std::unique_ptr<store::Store> store;
  bool serving = false;
  bool ending = false;
  store::Revision loaded = 0;  // up to here it has read its state, not seen it happen
  store::Revision shown = 0;   // newest that was shown by this process
  TaskGroup opening;
  TaskGroup taps;  // end with the store
  TaskGroup tasks;
};

}  // namespace skiff::sim
