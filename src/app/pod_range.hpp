// Which addresses the pods of this node get. Its Node object says so (spec.podCIDR, given by the
// nodeipam controller); a file beside the data remembers it, so that a server that starts without
// its cluster has it too.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "skiff/base/env.hpp"
#include "skiff/client/informer.hpp"
#include "skiff/linux/netlink.hpp"

namespace skiff::app {

class PodRange {
 public:
  // Sets the pod network up with a range; called again should the node ever be given another.
  using Open = std::function<Task<Result<void>>(netlink::Prefix)>;

  // Takes the nodes informer from the factory: before the factory's start(). All references outlive
  // this.
  PodRange(Env env, client::Client& client, client::InformerFactory& informers,
           std::string node_name, std::string file, Open open);

  // Opens with the range that is known already, if one is: pods of a server that starts again need
  // not wait. Fails as `open` does.
  Task<Result<void>> begin();
  // Follows the Node in `group`, which *this outlives.
  void start(TaskGroup& group);

 private:
  std::optional<netlink::Prefix> remembered() const;
  Task<void> remember(netlink::Prefix range);
  void look_at(const api::Object& node);
  Task<void> follow();

  Env env_;
  client::Client& client_;
  client::Informer& nodes_;
  std::string node_name_;
  std::string file_;
  Open open_;
  Signal changed_;
  std::optional<netlink::Prefix> wanted_;
  std::optional<netlink::Prefix> current_;
};

// The range a Node object says, if it says one that a pod network can have.
std::optional<netlink::Prefix> pod_range_of(const api::Object& node);

}  // namespace skiff::app
