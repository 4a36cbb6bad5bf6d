// What every pod worker of a node shares.
#pragma once

#include <map>
#include <string>

#include "image_puller.hpp"
#include "objects.hpp"
#include "skiff/client/reconcile.hpp"
#include "skiff/http/client.hpp"
#include "skiff/kubelet/kubelet.hpp"
#include "status_writer.hpp"
#include "volumes.hpp"

namespace skiff::kubelet {

struct Context {
  Env env;
  client::Client& client;
  runtime::Runtime& runtime;
  network::Network* network;
  const Options& options;
  ObjectWatches& objects;
  Volumes& volumes;
  ImagePuller& puller;
  StatusWriter& statuses;
  client::EventRecorder& events;
  http::Client& probes;  // does not verify certificates, keeps no connections
  client::Informer& services;
  const std::map<std::string, std::string>& allocatable;

  EnvironmentSources sources(const std::string& pod_ip) const {
    EnvironmentSources out;
    out.pod_ip = pod_ip;
    out.host_ip = options.node_ip;
    out.node_allocatable = allocatable;
    for (const auto& [key, service] : services.all()) out.services.push_back(service);
    return out;
  }
};

}  // namespace skiff::kubelet
