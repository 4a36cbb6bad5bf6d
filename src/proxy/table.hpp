// All services on their way into the table: documents in, changes out. Pure; belongs to the loop.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "flows.hpp"
#include "ledger.hpp"
#include "model.hpp"
#include "ruleset.hpp"
#include "skiff/api/object.hpp"

namespace skiff::proxy {

class Table {
 public:
  explicit Table(Options options) : options_(std::move(options)) {}

  // Takes in the present state of one service; null `service`: it is gone.
  void update(const api::NamespacedName& key, const api::Value* service,
              const std::vector<const api::Value*>& slices);

  Changes take_changes() { return ledger_.take_changes(); }
  Changes take_everything() { return ledger_.take_everything(); }
  // UDP service ports whose endpoints changed since the last call.
  std::vector<UdpFronts> take_udp() { return std::exchange(udp_, {}); }

  std::size_t service_ports() const noexcept { return ports_.size(); }
  std::size_t endpoints() const noexcept { return endpoints_; }
  const Options& options() const noexcept { return options_; }

 private:
  struct Port {
    ServicePort spec;
    Pool cluster, local;
  };
  void update_port(Port& port, const std::vector<const api::Value*>& slices);
  void remove_port(const std::string& id);
  void note_udp(const Port& port, const std::set<Target>& before);
  static std::set<Target> targets(const Port& port);

  Options options_;
  Ledger ledger_;
  Pickers pickers_;
  std::map<std::string, Port> ports_;                                 // by ServicePort::id()
  std::map<api::NamespacedName, std::vector<std::string>> services_;  // their ports
  std::vector<UdpFronts> udp_;
  std::uint32_t next_pool_ = 1;
  std::size_t endpoints_ = 0;
};

}  // namespace skiff::proxy
