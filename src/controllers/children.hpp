// Objects that belong to a controller object: who they are, and taking in or letting go those whose
// labels say so (garbage collection and controller references, as upstream's ControllerRefManager).
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "controller.hpp"
#include "skiff/api/selector.hpp"

namespace skiff::controllers {

struct ClaimPlan {
  std::vector<ObjectPtr> mine;     // controlled by the owner, and matching
  std::vector<ObjectPtr> adopt;    // nobody's, matching
  std::vector<ObjectPtr> release;  // controlled by the owner, no longer matching
};

// `candidates`: objects of the owner's namespace. An owner that is being deleted neither adopts nor
// releases; objects being deleted are not adopted.
ClaimPlan plan_claims(const api::Object& owner, const api::LabelSelector& selector,
                      std::span<const ObjectPtr> candidates);

// The children of one kind of owner, and the wiring that turns their changes into keys of owners.
class Children {
 public:
  using SelectorOf = std::function<Result<api::LabelSelector>(const api::Object& owner)>;

  Children(Context context, Informer& owners, Informer& children, std::string kind,
           SelectorOf selector_of);

  // Puts the owner's key on `queue` whenever a child of it changes, and the keys of all who might
  // adopt it when an orphan does.
  void watch(WorkQueue& queue);

  // Controlled by `owner`, or nobody's in its namespace.
  std::vector<ObjectPtr> candidates(const api::Object& owner) const;
  // Controlled by `owner`.
  std::vector<ObjectPtr> of(const api::Object& owner) const;

  // Carries out plan_claims() and returns what belongs to `owner` then. Before adopting, `owner` is
  // read afresh: one that was deleted and made anew under the same name must not adopt.
  Task<Result<std::vector<ObjectPtr>>> claim(ObjectPtr owner, api::LabelSelector selector,
                                             std::vector<ObjectPtr> candidates, Outcome* outcome);

  Informer& informer() const noexcept { return *children_; }

  // The index both functions above read; shared by every controller that names it.
  static constexpr const char* kIndex = "controller";
  static std::vector<std::string> index_keys(const api::Object& object);

 private:
  void enqueue_owner(const api::Object& child);
  void enqueue_adopters(const api::Object& orphan);
  Task<Result<void>> adopt(ObjectPtr owner, std::vector<ObjectPtr> orphans, Outcome* outcome,
                           std::vector<ObjectPtr>* mine);
  Task<Result<void>> release(ObjectPtr owner, std::vector<ObjectPtr> children, Outcome* outcome);

  Context context_;
  Informer* owners_;
  Informer* children_;
  std::string kind_;
  SelectorOf selector_of_;
  WorkQueue* queue_ = nullptr;
};

}  // namespace skiff::controllers
