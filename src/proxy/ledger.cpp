#include "ledger.hpp"

namespace skiff::proxy {
namespace {

bool same(const RulesPtr& a, const RulesPtr& b) {
  return a == b || (a != nullptr && b != nullptr && *a == *b);
}

nft::Element element(const Slot& slot, const Held& held) {
  return {slot.key, held.value, held.verdict, ""};
}

}  // namespace

void Changes::write(nft::Batch& batch) const {
  for (const auto& c : chains) {
    if (c.fresh) {
      batch.add_chain(c.name);
    } else {
      batch.flush_chain(c.name);
    }
  }
  for (const auto& c : chains) {
    for (const auto& rule : *c.rules) batch.add_rule(c.name, rule);
  }
  for (const auto& [set, elements] : removed) batch.delete_elements(set, elements);
  for (const auto& [set, elements] : added) batch.add_elements(set, elements);
  // Chains that go may lead to each other: all are emptied before the first is deleted.
  for (const auto& name : dropped_chains) batch.flush_chain(name);
  for (const auto& name : dropped_chains) batch.delete_chain(name);
}

std::optional<Held> Ledger::effective(const Slot& slot) const {
  const auto it = slots_.find(slot);
  if (it == slots_.end()) return std::nullopt;
  return it->second.begin()->second;
}

void Ledger::want(const Slot& slot, const std::string& owner, const std::optional<Held>& held) {
  slots_before_.try_emplace(slot, effective(slot));
  if (held) {
    slots_[slot].insert_or_assign(owner, *held);
    return;
  }
  const auto it = slots_.find(slot);
  if (it == slots_.end()) return;
  it->second.erase(owner);
  if (it->second.empty()) slots_.erase(it);
}

void Ledger::touch_chain(const std::string& name) {
  const auto it = chains_.find(name);
  chains_before_.try_emplace(name, it == chains_.end() ? nullptr : it->second.rules);
}

void Ledger::set(const std::string& owner, Items items) {
  Items& old = owners_[owner];
  for (const auto& [slot, held] : old.elements) {
    if (!items.elements.contains(slot)) want(slot, owner, std::nullopt);
  }
  for (const auto& [slot, held] : items.elements) {
    const auto it = old.elements.find(slot);
    if (it == old.elements.end() || !(it->second == held)) want(slot, owner, held);
  }
  for (const auto& [name, rules] : items.chains) {
    const bool had = old.chains.contains(name);
    if (had && same(old.chains.at(name), rules)) continue;
    touch_chain(name);
    Chain& chain = chains_[name];
    chain.rules = rules;
    chain.wanted += had ? 0 : 1;
  }
  for (const auto& [name, rules] : old.chains) {
    if (items.chains.contains(name)) continue;
    touch_chain(name);
    const auto it = chains_.find(name);
    if (--it->second.wanted == 0) chains_.erase(it);
  }
  if (items.chains.empty() && items.elements.empty()) {
    owners_.erase(owner);
  } else {
    old = std::move(items);
  }
}

Changes Ledger::take_changes() {
  Changes changes;
  for (auto& [name, before] : chains_before_) {
    const auto now = chains_.find(name);
    if (now == chains_.end()) {
      if (before) changes.dropped_chains.push_back(name);
    } else if (!same(before, now->second.rules)) {
      changes.chains.push_back({name, before == nullptr, now->second.rules});
    }
  }
  for (const auto& [slot, before] : slots_before_) {
    const auto now = effective(slot);
    if (before == now) continue;
    if (before) changes.removed[slot.set].push_back(element(slot, *before));
    if (now) changes.added[slot.set].push_back(element(slot, *now));
  }
  chains_before_.clear();
  slots_before_.clear();
  return changes;
}

Changes Ledger::take_everything() {
  Changes changes;
  for (const auto& [name, chain] : chains_) changes.chains.push_back({name, true, chain.rules});
  for (const auto& [slot, owners] : slots_) {
    changes.added[slot.set].push_back(element(slot, owners.begin()->second));
  }
  chains_before_.clear();
  slots_before_.clear();
  return changes;
}

}  // namespace skiff::proxy
