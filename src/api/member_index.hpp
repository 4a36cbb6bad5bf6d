// Many lookups in one object that is being changed: linear while it is small, hashed once it is
// not, so that a hostile document cannot make merging quadratic.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "skiff/api/value.hpp"

namespace skiff::api {

// Works on the members of `object`, which nobody else may change until the index is gone.
class MemberIndex {
 public:
  explicit MemberIndex(Value& object) : members_(object.mutable_members()) {
    erased_.resize(members_.size());
  }
  ~MemberIndex() {
    if (!any_erased_) return;
    std::size_t at = 0;
    std::erase_if(members_, [&](const Member&) { return erased_[at++]; });
  }
  MemberIndex(const MemberIndex&) = delete;
  MemberIndex& operator=(const MemberIndex&) = delete;

  Value* find(std::string_view name) {
    const std::size_t at = position(name);
    return at == npos || erased_[at] ? nullptr : &members_[at].value;
  }
  // The member, null when it is new.
  Value& member(std::string_view name) {
    std::size_t at = position(name);
    if (at == npos) {
      at = members_.size();
      members_.push_back({Name(name), Value()});
      erased_.push_back(false);
      if (!places_.empty()) places_.emplace(members_.back().name, at);
    } else if (erased_[at]) {
      erased_[at] = false;
      members_[at].value = Value();
    }
    return members_[at].value;
  }
  void erase(std::string_view name) {
    const std::size_t at = position(name);
    if (at == npos) return;
    erased_[at] = true;
    any_erased_ = true;
  }

 private:
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);
  static constexpr std::size_t kLinear = 32;

  std::size_t position(std::string_view name) {
    if (members_.size() <= kLinear) {
      for (std::size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].name == name) return i;
      }
      return npos;
    }
    // Names own their characters and keep them when the vector grows.
    if (places_.empty()) {
      for (std::size_t i = 0; i < members_.size(); ++i) places_.emplace(members_[i].name, i);
    }
    const auto found = places_.find(name);
    return found == places_.end() ? npos : found->second;
  }

  std::vector<Member>& members_;
  std::vector<bool> erased_;
  bool any_erased_ = false;
  std::unordered_map<std::string_view, std::size_t> places_;
};

}  // namespace skiff::api
