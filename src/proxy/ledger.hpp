// What the table holds, who wants it there, and what must change. Pure.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/linux/nftables.hpp"

namespace skiff::proxy {

// An element's place: which set or map, which key.
struct Slot {
  std::string set;
  nft::Bytes key;
  auto operator<=>(const Slot&) const = default;
};

// An element's value: nothing (a set), bytes (a map) or a verdict.
struct Held {
  nft::Bytes value;
  std::optional<nft::Verdict> verdict;
  bool operator==(const Held&) const = default;
};

using RulesPtr = std::shared_ptr<const std::vector<nft::Rule>>;

// What one owner (a service port) wants in the table. Several may want the same.
struct Items {
  std::map<std::string, RulesPtr> chains;  // owners that share a chain agree on its rules
  std::map<Slot, Held> elements;
};

// One transaction, in the order that keeps every step valid: chains before what leads to them,
// nothing deleted while something leads to it.
struct Changes {
  struct ChainChange {
    std::string name;
    bool fresh = false;
    RulesPtr rules;
  };
  std::vector<ChainChange> chains;
  std::map<std::string, std::vector<nft::Element>> removed, added;  // by set
  std::vector<std::string> dropped_chains;

  bool empty() const {
    return chains.empty() && removed.empty() && added.empty() && dropped_chains.empty();
  }
  void write(nft::Batch& batch) const;
};

class Ledger {
 public:
  // Replaces what `owner` wants; empty items take the owner out. Where owners disagree about a
  // slot, the first by name has it.
  void set(const std::string& owner, Items items);
  bool has(const std::string& owner) const { return owners_.contains(owner); }

  // What changed since the last call, net of to and fro.
  Changes take_changes();
  // Everything, as for an empty table. Forgets changes not taken.
  Changes take_everything();

 private:
  struct Chain {
    RulesPtr rules;
    std::size_t wanted = 0;  // by so many owners
  };
  void want(const Slot& slot, const std::string& owner, const std::optional<Held>& held);
  std::optional<Held> effective(const Slot& slot) const;
  void touch_chain(const std::string& name);

  std::map<std::string, Items> owners_;
  std::map<Slot, std::map<std::string, Held>> slots_;
  std::map<std::string, Chain> chains_;
  // As it was at the last take, for what was touched since.
  std::map<Slot, std::optional<Held>> slots_before_;
  std::map<std::string, RulesPtr> chains_before_;  // null: not there
};

}  // namespace skiff::proxy
