#include "endpoint_plan.hpp"

namespace skiff::controllers {
namespace {

std::string group_key(std::string_view address_type, const Value& ports) {
  std::string key = std::string(address_type) + " ";
  append_canonical_json(key, ports.is_array() ? ports : Value::array());
  return key;
}

// Who an endpoint is, whatever its state.
std::string identity(const Value& endpoint) {
  std::string id;
  append_canonical_json(id, endpoint["addresses"]);
  id += endpoint["targetRef"]["uid"].as_string();
  id += '/';
  id += endpoint["targetRef"]["name"].as_string();
  return id;
}

// An existing slice on its way to its new state.
struct Draft {
  ObjectPtr slice;
  std::vector<Value> endpoints;
  bool changed = false;
};

bool same_frame(const api::Object& slice, const Value& frame) {
  const Value& meta = frame["metadata"];
  return slice.labels() == meta["labels"] &&
         slice.metadata()["ownerReferences"] == meta["ownerReferences"];
}

Value array_of(std::vector<Value> items) {
  Value out = Value::array();
  out.mutable_items() = std::move(items);
  return out;
}

Value updated(const Draft& draft, const Value& frame, std::vector<Value> endpoints,
              const Value& ports) {
  Value next = draft.slice->root();
  Value& meta = next.member("metadata");
  meta.set("labels", frame["metadata"]["labels"]);
  meta.set("ownerReferences", frame["metadata"]["ownerReferences"]);
  next.set("endpoints", array_of(std::move(endpoints)));
  next.set("ports", ports);
  return next;
}

// Moves endpoints to the end of a draft while there are some and it has room.
void fill(Draft& draft, std::vector<Value>& left) {
  while (!left.empty() && draft.endpoints.size() < kMaxPerSlice) {
    draft.endpoints.push_back(std::move(left.back()));
    left.pop_back();
    draft.changed = true;
  }
}

class Planner {
 public:
  Planner(const Value& frame, std::span<const ObjectPtr> existing) : frame_(frame) {
    for (const ObjectPtr& slice : existing) {
      if (slice->deleting()) continue;
      const std::string key = group_key((*slice)["addressType"].as_string(), (*slice)["ports"]);
      drafts_[key].push_back({slice, {}, !same_frame(*slice, frame)});
    }
  }

  void group(EndpointGroup wanted) {
    const auto found = drafts_.find(group_key(wanted.address_type, wanted.ports));
    std::vector<Draft> drafts;
    if (found != drafts_.end()) {
      drafts = std::move(found->second);
      drafts_.erase(found);
    }
    std::vector<Value> left = keep_known(drafts, std::move(wanted.endpoints));
    place(drafts, left);
    for (Draft& draft : drafts) {
      if (draft.endpoints.empty()) {
        spare_.push_back(std::move(draft));
      } else {
        ++families_[wanted.address_type];
        if (draft.changed) {
          out_.update.push_back(updated(draft, frame_, std::move(draft.endpoints), wanted.ports));
        }
      }
    }
    while (!left.empty()) {
      const std::size_t count = std::min(left.size(), kMaxPerSlice);
      std::vector<Value> part(std::make_move_iterator(left.end() - static_cast<long>(count)),
                              std::make_move_iterator(left.end()));
      left.resize(left.size() - count);
      add(wanted.address_type, wanted.ports, std::move(part));
    }
  }

  SliceChanges finish(std::span<const std::string> placeholders) {
    for (const std::string& family : placeholders) {
      if (families_.contains(family)) continue;
      const auto empty = drafts_.find(group_key(family, Value::array()));
      const bool there = empty != drafts_.end() && !empty->second.empty() &&
                         !empty->second.front().changed &&
                         (*empty->second.front().slice)["endpoints"].empty();
      if (there) {
        empty->second.erase(empty->second.begin());
      } else {
        add(family, Value::array(), {});
      }
    }
    for (auto& [key, drafts] : drafts_) {
      for (Draft& draft : drafts) spare_.push_back(std::move(draft));
    }
    recycle();
    return std::move(out_);
  }

 private:
  struct Added {
    std::string address_type;
    Value ports;
    std::vector<Value> endpoints;
  };

  // Leaves in each draft what is still wanted, in its new state; returns what no draft has.
  static std::vector<Value> keep_known(std::vector<Draft>& drafts, std::vector<Value> wanted) {
    std::map<std::string, Value> by_identity;
    for (Value& endpoint : wanted) {
      std::string id = identity(endpoint);
      by_identity.insert_or_assign(std::move(id), std::move(endpoint));
    }
    for (Draft& draft : drafts) {
      for (const Value& present : (*draft.slice)["endpoints"].items()) {
        const auto it = by_identity.find(identity(present));
        if (it == by_identity.end()) {
          draft.changed = true;
          continue;
        }
        if (!(it->second == present)) draft.changed = true;
        draft.endpoints.push_back(std::move(it->second));
        by_identity.erase(it);
      }
    }
    std::vector<Value> left;
    for (auto& [id, endpoint] : by_identity) left.push_back(std::move(endpoint));
    return left;
  }

  // Slices that change anyway take new endpoints first, the fullest before the others; then at most
  // one more slice is touched, the fullest that takes all the rest.
  static void place(std::vector<Draft>& drafts, std::vector<Value>& left) {
    std::ranges::stable_sort(drafts, [](const Draft& a, const Draft& b) {
      return a.endpoints.size() > b.endpoints.size();
    });
    for (Draft& draft : drafts) {
      if (draft.changed && !draft.endpoints.empty()) fill(draft, left);
    }
    for (Draft& draft : drafts) {
      if (left.empty()) return;
      if (draft.endpoints.size() + left.size() <= kMaxPerSlice) fill(draft, left);
    }
  }

  void add(const std::string& address_type, const Value& ports, std::vector<Value> endpoints) {
    ++families_[address_type];
    added_.push_back({address_type, ports, std::move(endpoints)});
  }

  // A slice to delete and one to create, of one family, are one update.
  void recycle() {
    for (Added& added : added_) {
      const auto spare = std::ranges::find_if(spare_, [&](const Draft& d) {
        return (*d.slice)["addressType"].as_string() == added.address_type;
      });
      if (spare != spare_.end()) {
        out_.update.push_back(updated(*spare, frame_, std::move(added.endpoints), added.ports));
        spare_.erase(spare);
        continue;
      }
      Value slice = frame_;
      slice.set("addressType", added.address_type);
      slice.set("endpoints", array_of(std::move(added.endpoints)));
      slice.set("ports", std::move(added.ports));
      out_.create.push_back(std::move(slice));
    }
    for (Draft& draft : spare_) out_.remove.push_back(std::move(draft.slice));
  }

  const Value& frame_;
  std::map<std::string, std::vector<Draft>> drafts_;
  std::map<std::string, int> families_;  // slices that stay or come, by address family
  std::vector<Added> added_;
  std::vector<Draft> spare_;  // slices nobody needs any more
  SliceChanges out_;
};

}  // namespace

SliceChanges plan_slices(std::vector<EndpointGroup> wanted, std::span<const ObjectPtr> existing,
                         const Value& frame, std::span<const std::string> placeholders) {
  Planner planner(frame, existing);
  for (EndpointGroup& group : wanted) planner.group(std::move(group));
  return planner.finish(placeholders);
}

}  // namespace skiff::controllers
