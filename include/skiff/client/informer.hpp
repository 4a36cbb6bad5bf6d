// A local, always fresh copy of one resource: list once, watch for ever.
//
// start() spawns the list-and-watch task; every change calls the handlers in the loop's turn, in
// order, after the cache shows it. Readers share ObjectPtr with the rest of the process. A broken
// watch is resumed from the last revision seen; an expired one is replaced by a new list, whose
// differences to the cache are told to the handlers like any other change.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "skiff/client/client.hpp"

namespace skiff::client {

class Informer {
 public:
  // previous is null for an added object, current null for a deleted one.
  using Handler = std::function<void(const ObjectPtr& previous, const ObjectPtr& current)>;
  // Keys of an index for an object, e.g. the node of a pod.
  using IndexFunction = std::function<std::vector<std::string>(const api::Object&)>;

  Informer(Env env, Client& client, Ref ref, ListOptions options = {});
  ~Informer();

  // Before start() only.
  void add_index(std::string name, IndexFunction function);
  // Handlers added after the first sync are told of everything present. Handlers must outlive the
  // informer or the informer's task group's cancellation.
  void add_handler(Handler handler);

  void start(TaskGroup& group);
  bool synced() const noexcept;
  Task<void> wait_synced();
  // Whether this cache reflects `revision`, a resourceVersion of an object of this resource.
  bool reached(std::int64_t revision) const noexcept;
  // Called after the handlers, once per batch of changes. Same lifetime rule as for handlers.
  void on_progress(std::function<void()> callback);
  const Ref& ref() const noexcept;

  ObjectPtr get(const api::NamespacedName& key) const;  // null when absent
  ObjectPtr get(std::string ns, std::string name) const {
    return get({std::move(ns), std::move(name)});
  }
  const std::map<api::NamespacedName, ObjectPtr>& all() const noexcept;
  std::vector<ObjectPtr> in_namespace(const std::string& ns) const;
  std::vector<ObjectPtr> by_index(const std::string& name, const std::string& key) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Informers shared by all components of a process: one list and watch per resource. get() before
// start().
class InformerFactory {
 public:
  InformerFactory(Env env, Client& client) : env_(env), client_(client) {}
  Informer& get(const Ref& ref, ListOptions options = {});
  void start(TaskGroup& group);
  Task<void> wait_synced();
  // Keeps what handlers refer to alive as long as the informers.
  void keep(std::shared_ptr<void> resource) { kept_.push_back(std::move(resource)); }

 private:
  Env env_;
  Client& client_;
  std::vector<std::shared_ptr<void>> kept_;  // outlives the informers
  std::map<std::string, std::unique_ptr<Informer>> informers_;
  std::vector<Informer*> not_started_;
};

}  // namespace skiff::client
