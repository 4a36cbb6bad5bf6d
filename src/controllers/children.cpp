#include "children.hpp"

#include "objects.hpp"

namespace skiff::controllers {
namespace {

std::string orphan_key(const std::string& ns) { return "orphans in " + ns; }

Write update_of(const Ref& ref, const api::Object& object, Value next) {
  Write write;
  write.type = Write::Type::update;
  write.ref = ref.at(object.key());
  write.object = std::move(next);
  return write;
}

Value without_owner(const api::Object& object, std::string_view uid) {
  Value next = object.root();
  Value& meta = next.member("metadata");
  auto& owners = meta.member("ownerReferences").mutable_items();
  std::erase_if(owners, [&](const Value& o) { return o["uid"].as_string() == uid; });
  if (owners.empty()) meta.erase("ownerReferences");
  return next;
}

}  // namespace

ClaimPlan plan_claims(const api::Object& owner, const api::LabelSelector& selector,
                      std::span<const ObjectPtr> candidates) {
  ClaimPlan plan;
  for (const ObjectPtr& object : candidates) {
    const bool matches = selector.matches(object->labels());
    const Value* controller = api::controller_of(object->root());
    if (controller != nullptr) {
      if ((*controller)["uid"].as_string() != owner.uid()) continue;
      if (matches) {
        plan.mine.push_back(object);
      } else if (!owner.deleting()) {
        plan.release.push_back(object);
      }
      continue;
    }
    if (matches && !owner.deleting() && !object->deleting()) plan.adopt.push_back(object);
  }
  return plan;
}

Children::Children(Context context, Informer& owners, Informer& children, std::string kind,
                   SelectorOf selector_of)
    : context_(context),
      owners_(&owners),
      children_(&children),
      kind_(std::move(kind)),
      selector_of_(std::move(selector_of)) {
  children.add_index(kIndex, index_keys);
}

std::vector<std::string> Children::index_keys(const api::Object& object) {
  const Value* controller = api::controller_of(object.root());
  if (controller != nullptr) return {(*controller)["uid"].as_string()};
  return {orphan_key(object.ns())};
}

void Children::watch(WorkQueue& queue) {
  queue_ = &queue;
  children_->add_handler([this](const ObjectPtr& previous, const ObjectPtr& current) {
    const Value* before = previous ? api::controller_of(previous->root()) : nullptr;
    const Value* after = current ? api::controller_of(current->root()) : nullptr;
    const bool moved = before != nullptr && after != nullptr &&
                       (*before)["uid"].as_string() != (*after)["uid"].as_string();
    if (before != nullptr && (after == nullptr || moved)) enqueue_owner(*previous);
    if (!current) return;
    if (after != nullptr) {
      enqueue_owner(*current);
    } else if (!current->deleting()) {
      enqueue_adopters(*current);
    }
  });
}

void Children::enqueue_owner(const api::Object& child) {
  const Value& reference = *api::controller_of(child.root());
  if (reference["kind"].as_string() != kind_) return;
  const ObjectPtr owner = owners_->get(child.ns(), reference["name"].as_string());
  if (owner && owner->uid() == reference["uid"].as_string()) queue_->add(owner->key());
}

void Children::enqueue_adopters(const api::Object& orphan) {
  for (const ObjectPtr& owner : owners_->in_namespace(orphan.ns())) {
    const auto selector = selector_of_(*owner);
    if (selector && !selector->empty() && selector->matches(orphan.labels())) {
      queue_->add(owner->key());
    }
  }
}

std::vector<ObjectPtr> Children::of(const api::Object& owner) const {
  return children_->by_index(kIndex, owner.uid());
}

std::vector<ObjectPtr> Children::candidates(const api::Object& owner) const {
  std::vector<ObjectPtr> out = of(owner);
  const std::vector<ObjectPtr> orphans = children_->by_index(kIndex, orphan_key(owner.ns()));
  out.insert(out.end(), orphans.begin(), orphans.end());
  return out;
}

Task<Result<std::vector<ObjectPtr>>> Children::claim(ObjectPtr owner, api::LabelSelector selector,
                                                     std::vector<ObjectPtr> candidates,
                                                     Outcome* outcome) {
  ClaimPlan plan = plan_claims(*owner, selector, candidates);
  if (!plan.release.empty()) {
    SKIFF_CO_CHECK(co_await release(owner, std::move(plan.release), outcome));
  }
  if (!plan.adopt.empty()) {
    SKIFF_CO_CHECK(co_await adopt(owner, std::move(plan.adopt), outcome, &plan.mine));
  }
  co_return std::move(plan.mine);
}

Task<Result<void>> Children::adopt(ObjectPtr owner, std::vector<ObjectPtr> orphans,
                                   Outcome* outcome, std::vector<ObjectPtr>* mine) {
  Ref at = owners_->ref().at(owner->key());
  SKIFF_CO_TRY(const ObjectPtr fresh, co_await context_.client->get(at));
  if (fresh->uid() != owner->uid()) {
    co_return Error{Code::conflict, kind_ + " " + owner->key().to_string() +
                                        " was replaced by another of the same name: the old one "
                                        "adopts nothing"};
  }
  if (fresh->deleting()) {
    co_return Error{Code::conflict, kind_ + " " + owner->key().to_string() +
                                        " is being deleted: it adopts nothing"};
  }
  std::vector<Write> writes;
  for (const ObjectPtr& orphan : orphans) {
    Value next = orphan->root();
    next.member("metadata").member("ownerReferences").push_back(controller_reference(*owner));
    writes.push_back(update_of(children_->ref(), *orphan, std::move(next)));
  }
  const auto results = co_await context_.client->batch(std::move(writes));
  for (const auto& result : results) {
    if (result) {
      outcome->wrote(*children_, **result);
      mine->push_back(*result);
    } else if (result.error().code != Code::not_found) {
      co_return result.error();
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> Children::release(ObjectPtr owner, std::vector<ObjectPtr> children,
                                     Outcome* outcome) {
  std::vector<Write> writes;
  for (const ObjectPtr& child : children) {
    writes.push_back(update_of(children_->ref(), *child, without_owner(*child, owner->uid())));
  }
  const auto results = co_await context_.client->batch(std::move(writes));
  for (const auto& result : results) {
    if (result) {
      outcome->wrote(*children_, **result);
    } else if (result.error().code != Code::not_found) {
      co_return result.error();
    }
  }
  co_return Result<void>{};
}

}  // namespace skiff::controllers
