// What the table holds, who wants it there, and what must change. Pure.
#pragma once

#include <map>
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

// What one owner (a service port) wants in the table.
struct Items {
  std::map<std::string, std::vector<nft::Rule>> chains;  // names are the owner's own
  std::map<Slot, Held> elements;                         // may be wanted by several owners
};

// One transaction, in the order that keeps every step valid: chains before what leads to them,
// nothing deleted while something leads to it.
struct Changes {
  struct ChainChange {
    std::string name;
    bool fresh = false;
    std::vector<nft::Rule> rules;
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
  using Rules = std::vector<nft::Rule>;
  void want(const Slot& slot, const std::string& owner, const std::optional<Held>& held);
  std::optional<Held> effective(const Slot& slot) const;
  void set_chain(const std::string& name, std::optional<Rules> rules);

  std::map<std::string, Items> owners_;
  std::map<Slot, std::map<std::string, Held>> slots_;
  std::map<std::string, Rules> chains_;
  // As it was at the last take, for what was touched since.
  std::map<Slot, std::optional<Held>> slots_before_;
  std::map<std::string, std::optional<Rules>> chains_before_;
};

}  // namespace skiff::proxy
