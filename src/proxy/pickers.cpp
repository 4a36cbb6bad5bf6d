// Pickers: chains that spread over a pool of a given size. Services share them, so that a service
// comes, goes and changes by elements alone. (The kernel walks all chains that verdicts lead to
// whenever a rule or a verdict is added: chains per service would make every change dearer.)
#include <fmt/format.h>

#include "fragments.hpp"
#include "ruleset.hpp"

namespace skiff::proxy {
namespace {

// r4 = pool, r5 = number of the endpoint; r9..r10 = its address and port.
Rule& lead_to(Rule& rule) { return rule.map("endpoints", Reg{4}, Reg{9}); }

Rule& dnat(Rule& rule) { return rule.dnat(kFamily, Reg{9}, Reg{10}); }

// Rules can not hand values to each other: each looks its front up again.
Rule look_up(Front front) {
  Rule rule;
  load_key(rule, front).map(name_of(front), Reg{0}, Reg{4});
  return rule;
}

Rule draw(Front front, std::uint32_t count) {
  Rule rule = look_up(front);
  rule.random(count, Reg{5});
  lead_to(rule);
  return rule;
}

void add_affinity(std::vector<Rule>& rules, Front front, const PoolShape& shape) {
  const std::uint64_t timeout = std::uint64_t{shape.affinity_seconds} * 1000;
  // r4..r5 = pool, client; r8..r10 = pool and the client's last endpoint, as long as the pool
  // still has it.
  Rule again = look_up(front);
  again.bitwise(Reg{4}, Reg{8}, word(~0U), word(0))
      .payload(Base::network, kSource, kAddress, Reg{5})
      .map("affinity", Reg{4}, Reg{9})
      .in_set("sticky", Reg{8})
      .change_set(Rule::SetOp::update, "affinity", Reg{4}, Reg{9}, timeout);
  rules.push_back(dnat(again));
  // An update does not replace the value of an element that is there: it goes first. A full map
  // ends this rule, and the next one serves the client without remembering it.
  Rule remember = draw(front, shape.count);
  remember.payload(Base::network, kSource, kAddress, Reg{5})
      .change_set(Rule::SetOp::remove, "affinity", Reg{4}, Reg{9}, 0)
      .change_set(Rule::SetOp::update, "affinity", Reg{4}, Reg{9}, timeout);
  rules.push_back(dnat(remember));
}

}  // namespace

std::string_view name_of(Front front) {
  switch (front) {
    case Front::service_ips:
      return "service-ips";
    case Front::node_ports:
      return "node-ports";
    case Front::local_ips:
      return "local-ips";
    case Front::local_node_ports:
      return "local-node-ports";
  }
  return "";
}

bool by_node_port(Front front) {
  return front == Front::node_ports || front == Front::local_node_ports;
}

std::string picker_map(Front front) { return fmt::format("pick-{}", name_of(front)); }

std::string picker_name(Front front, const PoolShape& shape) {
  return shape.affinity_seconds == 0
             ? fmt::format("{}/{}", name_of(front), shape.count)
             : fmt::format("{}/{}/{}s", name_of(front), shape.count, shape.affinity_seconds);
}

RulesPtr Pickers::get(Front front, const PoolShape& shape) {
  auto& cached = cache_[picker_name(front, shape)];
  if (cached) return cached;
  std::vector<Rule> rules;
  if (shape.affinity_seconds != 0) add_affinity(rules, front, shape);
  Rule drawn = draw(front, shape.count);
  rules.push_back(dnat(drawn));
  // The pool may have shrunk between one lookup and the next: what it has as long as it has any is
  // number 0.
  Rule first = look_up(front);
  first.load(Reg{5}, word(0));
  lead_to(first);
  rules.push_back(dnat(first));
  cached = std::make_shared<const std::vector<Rule>>(std::move(rules));
  return cached;
}

}  // namespace skiff::proxy
