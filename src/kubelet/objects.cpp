#include "objects.hpp"

#include <set>

namespace skiff::kubelet {

struct ObjectWatches::Watched {
  Watched(Env env, client::Client& client, const client::Ref& ref)
      : key{ref.ns, ref.name},
        informer(env, client, ref.at(ref.ns, ""), by_name(ref.name)),
        group(env.executor) {}

  static client::ListOptions by_name(const std::string& name) {
    client::ListOptions options;
    options.field_selector = "metadata.name=" + name;
    return options;
  }

  api::NamespacedName key;
  client::Informer informer;
  TaskGroup group;
  std::set<std::string> users;
};

ObjectWatches::ObjectWatches(Env env, client::Client& client)
    : env_(env), client_(client), retiring_(env.executor) {}

ObjectWatches::~ObjectWatches() = default;

void ObjectWatches::on_change(std::function<void(const std::string&)> callback) {
  callback_ = std::move(callback);
}

std::string ObjectWatches::key_of(const client::Ref& ref) {
  return ref.resource + "/" + ref.ns + "/" + ref.name;
}

void ObjectWatches::use(const std::string& user, const client::Ref& ref) {
  auto& watched = watched_[key_of(ref)];
  if (!watched) {
    watched = std::make_shared<Watched>(env_, client_, ref);
    Watched* raw = watched.get();
    raw->informer.add_handler([this, raw](const api::ObjectPtr&, const api::ObjectPtr&) {
      const std::set<std::string> users = raw->users;
      for (const std::string& u : users) {
        if (callback_) callback_(u);
      }
    });
    raw->informer.start(raw->group);
  }
  watched->users.insert(user);
}

void ObjectWatches::release(const std::string& user) {
  for (auto it = watched_.begin(); it != watched_.end();) {
    it->second->users.erase(user);
    if (it->second->users.empty()) {
      retire(std::move(it->second));
      it = watched_.erase(it);
    } else {
      ++it;
    }
  }
}

void ObjectWatches::retire(std::shared_ptr<Watched> watched) {
  watched->group.cancel();
  retiring_.spawn("retire watch", wind_down(std::move(watched)));
}

Task<void> ObjectWatches::wind_down(std::shared_ptr<Watched> watched) {
  co_await watched->group.join();
}

Task<Result<api::ObjectPtr>> ObjectWatches::get(client::Ref ref) {
  const auto it = watched_.find(key_of(ref));
  if (it == watched_.end()) co_return co_await client_.get(ref);
  const std::shared_ptr<Watched> watched = it->second;
  co_await watched->informer.wait_synced();
  if (api::ObjectPtr object = watched->informer.get(watched->key)) co_return object;
  const std::string kind = ref.resource == "secrets" ? "secret" : "configmap";
  co_return Error{Code::not_found, kind + " \"" + ref.name + "\" not found"};
}

Task<void> ObjectWatches::stop() {
  for (auto& [key, watched] : watched_) retire(std::move(watched));
  watched_.clear();
  co_await retiring_.join();
}

}  // namespace skiff::kubelet
