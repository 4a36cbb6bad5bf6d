// Node IPAM: every node gets a range of the cluster's pod addresses, once.
#include "controller.hpp"
#include "node_ipam_plan.hpp"

namespace skiff::controllers {
namespace {

// Who gets what depends on what all others have: one key, so that one plan is made at a time.
const NamespacedName kAllNodes{"", "all nodes"};
// Pods of a node that is gone are removed meanwhile, and its range comes free.
constexpr Duration kLookAgain = 15s;

bool same_ranges(const api::Object& a, const api::Object& b) {
  return a.uid() == b.uid() && a["spec"]["podCIDRs"] == b["spec"]["podCIDRs"];
}

class NodeIpamController final : public LoopController {
 public:
  NodeIpamController(Context context, AddressRange cluster, std::uint8_t length)
      : LoopController(context),
        cluster_(cluster),
        length_(length),
        nodes_(informer(resources::kNodes)),
        pods_(informer(resources::kPods)) {}

  std::string_view name() const override { return "nodeipam"; }

  void watch(WorkQueue& queue) override {
    nodes_.add_handler([&queue](const ObjectPtr& previous, const ObjectPtr& current) {
      if (!previous || !current || !same_ranges(*previous, *current)) queue.add(kAllNodes);
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override;

 private:
  std::vector<NodeInUse> look() const;
  void tell(const RangePlan& plan);

  AddressRange cluster_;
  std::uint8_t length_;
  Informer& nodes_;
  Informer& pods_;
  std::uint32_t next_ = 0;
  std::set<std::string> told_;  // uids of nodes whose trouble was told
};

// Pods matter as long as a node has no range.
std::vector<NodeInUse> NodeIpamController::look() const {
  std::map<std::string, NodeInUse> nodes;
  bool all_have = true;
  for (const auto& [key, node] : nodes_.all()) {
    nodes[node->name()].node = node;
    if ((*node)["spec"]["podCIDRs"].empty()) all_have = false;
  }
  for (const auto& [key, pod] : pods_.all()) {
    if (all_have) break;
    const std::string& node = (*pod)["spec"]["nodeName"].as_string();
    const std::string& ip = (*pod)["status"]["podIP"].as_string();
    if (node.empty() || ip.empty() || pod_finished(pod->root())) continue;
    if (!(*pod)["spec"]["hostNetwork"].as_bool()) nodes[node].pod_ips.push_back(ip);
  }
  std::vector<NodeInUse> out;
  for (auto& [name, n] : nodes) out.push_back(std::move(n));
  return out;
}

void NodeIpamController::tell(const RangePlan& plan) {
  std::set<std::string> troubled;
  for (const ObjectPtr& node : plan.left_out) {
    troubled.insert(node->uid());
    if (told_.contains(node->uid())) continue;
    event(*node, "Normal", "CIDRNotAvailable",
          "Node " + node->name() + " status is now: CIDRNotAvailable");
    log::error("controllers", "no range of pod addresses is left for a node",
               {{"node", node->name()}, {"clusterCIDR", cluster_.to_string()}});
  }
  for (const auto& [node, first] : plan.doubled) {
    troubled.insert(node->uid());
    if (told_.contains(node->uid())) continue;
    event(*node, "Warning", "CIDRConflict",
          "Pod range " + (*node)["spec"]["podCIDR"].as_string() + " is also that of node " +
              first->name() +
              ": delete this Node and restart its server, and it gets a range of its own");
    log::error("controllers", "two nodes have one range of pod addresses",
               {{"node", node->name()}, {"other", first->name()}});
  }
  told_ = std::move(troubled);
}

Task<Result<Outcome>> NodeIpamController::reconcile(NamespacedName) {
  Outcome outcome;
  const std::vector<NodeInUse> nodes = look();
  RangePlan plan = plan_ranges(cluster_, length_, nodes, next_);
  tell(plan);
  if (!plan.left_out.empty()) outcome.again_after = kLookAgain;
  std::vector<Write> writes;
  for (const auto& [node, range] : plan.give) {
    Value spec = Value::object({{"podCIDR", Value(range.to_string())}});
    spec.set("podCIDRs", Value::array({Value(range.to_string())}));
    Write write;
    write.type = Write::Type::patch;
    write.ref = resources::kNodes.at("", node->name());
    write.object = Value::object();
    write.object.set("spec", std::move(spec));
    writes.push_back(std::move(write));
  }
  if (writes.empty()) co_return outcome;
  next_ = plan.next;
  const auto results = co_await context_.client->batch(std::move(writes));
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& [node, range] = plan.give[i];
    if (results[i]) {
      outcome.wrote(nodes_, **results[i]);
      log::info("controllers", "a node has its range of pod addresses",
                {{"node", node->name()}, {"podCIDR", range.to_string()}});
    } else if (results[i].error().code != Code::not_found) {
      event(*node, "Normal", "CIDRAssignmentFailed",
            "Node " + node->name() + " status is now: CIDRAssignmentFailed");
      outcome.retry = results[i].error();
    }
  }
  co_return outcome;
}

}  // namespace

std::unique_ptr<Controller> make_node_ipam(Context context, const Options& options) {
  const auto cluster = AddressRange::parse(options.cluster_cidr);
  if (!cluster) return nullptr;
  return std::make_unique<NodeIpamController>(context, *cluster, options.node_cidr_length);
}

}  // namespace skiff::controllers
