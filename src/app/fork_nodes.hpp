// The kubelets of a fork: nobody runs its pods, so they are said to run.
#pragma once

#include "skiff/client/client.hpp"

namespace skiff::app {

// Until cancelled: pods that are bound to a node become Running and Ready, pods that are being
// deleted go at once. Nothing else of nodes is imitated. `client` outlives this.
Task<void> imitate_kubelets(Env env, client::Client* client);

// What a kubelet would report of `pod` once everything in it runs; a merge patch.
api::Value running_status(const api::Value& pod, WallTime now);

}  // namespace skiff::app
