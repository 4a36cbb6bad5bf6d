// client::Client in process: no HTTP, no copies, no encoding. Reads hand out the objects every
// other reader shares; a batch is one commit.
#pragma once

#include "skiff/client/client.hpp"
#include "skiff/registry/registry.hpp"

namespace skiff::registry {

class DirectClient final : public client::Client {
 public:
  // `registry` outlives this. `user` is whom writes are made for (a component's identity, such as
  // "system:kube-controller-manager"); nothing is refused to it here.
  DirectClient(Registry& registry, std::string user);

  Task<Result<ObjectPtr>> get(client::Ref ref) override;
  Task<Result<client::List>> list(client::Ref ref, client::ListOptions options) override;
  Task<Result<std::unique_ptr<client::WatchStream>>> watch(client::Ref ref,
                                                           client::ListOptions options) override;
  Task<Result<ObjectPtr>> create(client::Ref ref, Value object,
                                 client::WriteOptions options) override;
  Task<Result<ObjectPtr>> update(client::Ref ref, Value object,
                                 client::WriteOptions options) override;
  Task<Result<ObjectPtr>> patch(client::Ref ref, api::PatchType type, Value patch,
                                client::WriteOptions options) override;
  Task<Result<ObjectPtr>> remove(client::Ref ref, client::DeleteOptions options) override;
  Task<std::vector<Result<ObjectPtr>>> batch(std::vector<client::Write> writes) override;

 private:
  WriteContext context(bool dry_run, std::string manager = {}) const;
  Registry& registry_;
  UserPtr user_;
};

}  // namespace skiff::registry
