// ConfigMaps and Secrets that this node's pods use: each is watched by name while somebody uses it,
// so the node sees changes without listing what it has no business with.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "skiff/client/informer.hpp"

namespace skiff::kubelet {

class ObjectWatches {
 public:
  ObjectWatches(Env env, client::Client& client);
  ~ObjectWatches();

  // Called with the user's id when an object it holds has changed.
  void on_change(std::function<void(const std::string& user)> callback);

  // Declares that `user` (a pod's uid) uses this object; the first use starts the watch.
  void use(const std::string& user, const client::Ref& ref);
  // Ends all uses of `user`.
  void release(const std::string& user);

  // Waits until the object's state is known. not_found when it does not exist.
  Task<Result<api::ObjectPtr>> get(client::Ref ref);

  Task<void> stop();

 private:
  struct Watched;
  static std::string key_of(const client::Ref& ref);
  void retire(std::shared_ptr<Watched> watched);
  static Task<void> wind_down(std::shared_ptr<Watched> watched);

  Env env_;
  client::Client& client_;
  std::function<void(const std::string&)> callback_;
  std::map<std::string, std::shared_ptr<Watched>> watched_;
  TaskGroup retiring_;
};

}  // namespace skiff::kubelet
