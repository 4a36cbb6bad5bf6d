// What has to be written so that objects are again what they were: the pure part of `skiff undo`.
#pragma once

#include <string>
#include <vector>

#include "skiff/api/schema.hpp"
#include "skiff/api/value.hpp"

namespace skiff::cli {

struct RestoreStep {
  enum class Type : std::uint8_t { create, update, remove };
  Type type = Type::update;
  const api::Resource* resource = nullptr;
  std::string name;
  std::string ns;
  api::Value document;  // what is written; of remove: what is there now
  api::Value before;    // update: what is there now
  // remove: only the very object that was looked at
  std::string uid;
  std::string revision;
};

// Writing `was` over what is there `now`: identity, status and what may not change stay as they
// are now, so that the write is refused if anybody else was faster.
api::Value restored(const api::Resource& resource, const api::Value& was, const api::Value& now);

// `was`, to be created anew: without identity, status and what the cluster chose for it.
api::Value recreated(const api::Resource& resource, const api::Value& was);

// Whether writing `was` over `now` would change anything but noise.
bool same_but_noise(const api::Resource& resource, const api::Value& was, const api::Value& now);

// Whether a controller looks after the object: it follows its owner, and is left to him.
bool is_controlled(const api::Resource& resource, const api::Value& object);

// Everything that turns `now` into `was` (objects of one namespace and any kinds): creates first,
// what others stand on before them, then updates, then removals. Controlled objects are left out.
struct Dated {
  const api::Resource* resource = nullptr;
  api::Value object;
};
std::vector<RestoreStep> plan_restore(const std::vector<Dated>& was, const std::vector<Dated>& now);

}  // namespace skiff::cli
