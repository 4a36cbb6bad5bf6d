// A pod's volumes: directories under ROOT/pods/UID/volumes, filled from the API where need be. What
// may hold secrets and tokens is kept in memory, as upstream does: under MEMORY/pods/UID/volumes, a
// directory on a tmpfs. (Not a tmpfs of its own per volume: a mount would not be seen by a server
// that is started again in another mount namespace.)
//
// configMap, secret, downwardAPI and projected volumes are written atomically (a new timestamped
// directory, then one rename of the ..data link), so that a container sees all of a change or
// nothing of it, and updated live.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "environment.hpp"
#include "objects.hpp"
#include "pod.hpp"
#include "skiff/runtime/runtime.hpp"

namespace skiff::kubelet {

class Volumes {
 public:
  // `memory` may be empty: then everything is under `root`.
  Volumes(Env env, client::Client& client, ObjectWatches& objects, std::string root,
          std::string memory);

  // Makes or refreshes every volume of the pod; idempotent. Errors are worded for a FailedMount
  // event.
  Task<Result<void>> set_up(ObjectPtr pod, EnvironmentSources sources);
  // Unmounts and removes all that set_up made. Success when nothing is there.
  Task<Result<void>> tear_down(std::string uid);
  // Pods that have something on disk.
  Task<std::vector<std::string>> pods_on_disk();

  // The container's mounts of these volumes. invalid when a subPath leads nowhere.
  Result<std::vector<runtime::Mount>> mounts(const Value& pod, const Value& container,
                                             const Environment& environment) const;
  std::string pod_directory(const std::string& uid) const { return root_ + "/pods/" + uid; }

  // When the soonest token of the pod wants to be renewed; TimePoint::max() without tokens.
  TimePoint renewal(const std::string& uid) const;
  void forget(const std::string& uid);

 private:
  struct File {
    std::string content;
    int mode = 0644;
  };
  using Files = std::map<std::string, File>;  // relative path -> content
  struct Token {
    std::string token;
    TimePoint renew_at;
  };

  std::string path_of(const Value& pod, const Value& volume) const;
  Task<Result<void>> set_up_one(ObjectPtr pod, const Value* volume, EnvironmentSources* sources);
  Task<Result<void>> add_source(ObjectPtr pod, std::string type, const Value* source, int mode,
                                EnvironmentSources* sources, Files* files);
  Task<Result<void>> add_object(ObjectPtr pod, bool secret, const Value* source, int mode,
                                Files* files);
  Result<void> add_downward(const Value& pod, const Value& source, int mode,
                            const EnvironmentSources& sources, Files& files);
  Task<Result<void>> add_token(ObjectPtr pod, const Value* source, int mode, Files* files);

  Env env_;
  client::Client& client_;
  ObjectWatches& objects_;
  std::string root_;
  std::string memory_;
  std::map<std::string, std::map<std::string, Token>> tokens_;  // pod uid -> audience/path -> token
};

// Writes `files` below `directory` as described above; nothing happens when they are there already.
// Blocking.
Result<void> write_atomically(const std::string& directory,
                              const std::map<std::string, std::pair<std::string, int>>& files,
                              std::int64_t fs_group);

}  // namespace skiff::kubelet
