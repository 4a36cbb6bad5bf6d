#include "write.hpp"

#include "allocations.hpp"
#include "conversion.hpp"
#include "encode.hpp"
#include "errors.hpp"
#include "keys.hpp"
#include "read.hpp"

namespace skiff::registry {
namespace {

// Another writer can only win a race outside the locks (another server, event expiry): rare.
constexpr int kMaxAttempts = 16;
constexpr Duration kRaceWait = 2ms;
// The controller makes a namespace's default account a moment after the namespace.
constexpr int kAccountTries = 20;
constexpr Duration kAccountWait = 100ms;

bool is_events(const api::Resource& resource) { return resource.plural == "events"; }

Written answer(const Target& target, const Plan& plan, const ItemPtr& item) {
  Written out;
  out.item = plan.render ? plan.render(target, item) : served_item(*target.resource, item);
  out.created = plan.created;
  out.removed = plan.removed;
  out.brief = plan.removed && !strategy_of(keys::stored(*target.resource)).returns_deleted;
  return out;
}

// What a dry run, or a write that changes nothing, answers.
Written uncommitted(const Target& target, const Plan& plan) {
  if (plan.answer) {
    Written out;
    const bool stored = !plan.render && target.subresource != "scale" &&
                        target.subresource != "token" && target.subresource != "eviction";
    out.item = stored ? served_item(*target.resource, plan.answer) : plan.answer;
    out.created = plan.created;
    return out;
  }
  const store::Op& op = plan.ops.front();
  std::string json = op.value;
  if (op.expect.value_or(0) != 0 && op.revision_slot != store::kNoSlot) {
    json.insert(op.revision_slot, std::to_string(*op.expect));
  }
  return answer(target, plan, make_item(op.key, std::move(json), 0, op.expect.value_or(0)));
}

// A verdict of the store in the words of the API.
Error explain(const Core& core, const Target& target, const Plan& plan, const Error& error,
              const store::Op& lost) {
  const api::Resource& served = *target.resource;
  const std::string name(keys::name_of(lost.key));
  switch (error.code) {
    case Code::conflict:
      return errors::modified(served, name);
    case Code::not_found:
      return errors::not_found(served, name);
    case Code::already_exists: {
      Error e = errors::already_exists(served, name);
      if (plan.generated) {
        e.message += ", the server was not able to generate a unique name for the object";
      }
      const auto item = core.store.get(lost.key);
      if (item && object_of(*item)->deleting()) {
        e.message = "object is being deleted: " + e.message;
      }
      return e;
    }
    case Code::too_large:
      return {Code::too_large, "Request entity too large: limit is 3145728", error.details};
    default:
      return error;
  }
}

// Whether another attempt may do better, and if so with what.
bool try_again(Write& write, Plan& plan, const Error& error) {
  if (error.code == Code::already_exists && plan.created && plan.generated) {
    write.document = std::move(plan.document);
    to_served(*write.target.resource, write.document);
    write.document.member("metadata").erase("name");
    write.document.erase("status");
    return true;
  }
  if (error.code != Code::conflict || plan.pinned) return false;
  if (write.type == Write::Type::update) {
    write.document = std::move(plan.document);
    if (write.target.subresource != "scale") to_served(*write.target.resource, write.document);
    for (const std::string_view name : {"resourceVersion", "uid"}) {
      write.document.member("metadata").erase(name);
    }
  }
  return true;
}

bool waits_for_account(const Core& core, const Write& write) {
  const Target& t = write.target;
  if (write.type != Write::Type::create || !t.subresource.empty() || t.resource->plural != "pods" ||
      t.ns.empty()) {
    return false;
  }
  const std::string& name = write.document["spec"]["serviceAccountName"].as_string();
  if (!name.empty() && name != "default") return false;
  return core.find("", "namespaces", "", t.ns) &&
         !core.find("", "serviceaccounts", t.ns, "default");
}

Task<void> wait_for_account(Core* core, const Write* write) {
  for (int i = 0; i < kAccountTries && waits_for_account(*core, *write); ++i) {
    co_await core->env.clock->sleep_for(kAccountWait);
  }
}

// Known before anything is sent: better at once than after a timeout.
Error no_quorum() {
  auto details = std::make_shared<ErrorDetails>();
  details->retry_after_seconds = 1;
  return {Code::unavailable,
          "nothing was written: this server reaches no quorum of the cluster's servers (or not its "
          "datastore); reads go on and may be stale",
          std::move(details)};
}

void committed(Core& core, const Target& target, const ItemPtr& item, const Plan& plan) {
  if (is_events(*target.resource) && !plan.removed) {
    core.expiry.note(*item, core.options.event_ttl);
  }
}

// The document of a write that may have to be planned anew with other addresses; null otherwise.
Value copy_for_another_try(const Core& core, const Write& write) {
  const bool takes = core.options.shared && write.target.resource->plural == "services";
  return takes ? write.document : Value();
}

// With several servers: what only one of them may have is taken before the object is written.
Task<Result<void>> take(Core* core, Plan* plan) {
  if (!core->options.shared || plan->reservations.taken().empty()) co_return Result<void>();
  std::string owner(keys::tail(plan->ops.front().key));
  std::vector<std::string> names = plan->reservations.taken();
  co_return co_await take_allocations(core, std::move(names), std::move(owner));
}

Task<void> settle_allocations(Core* core, Plan* plan, Result<ItemPtr> verdict) {
  // Not known whether it happened: what nobody uses is found later.
  const bool unknown = !verdict && verdict.error().code == Code::unavailable;
  if (!core->options.shared || unknown) co_return;
  std::vector<std::string> names =
      verdict ? plan->reservations.given_back() : plan->reservations.taken();
  if (!names.empty()) co_await drop_allocations(core, std::move(names));
}

}  // namespace

Task<Result<Written>> write_one(Core* core, Write write, WriteContext context) {
  if (core->store.decider() == store::Decider::nobody) co_return no_quorum();
  if (waits_for_account(*core, write)) co_await wait_for_account(core, &write);
  for (int attempt = 1;; ++attempt) {
    KeyLocks::Guard guard;
    if (auto keys = keys_to_lock(*core, write); !keys.empty()) {
      guard = co_await core->locks.lock(std::move(keys));
    }
    Plan plan;
    Value original = copy_for_another_try(*core, write);
    if (auto ok = make_plan(*core, write, context, plan); !ok) {
      plan.reservations.settle(false);
      co_return ok.error();
    }
    if (plan.ops.empty() || context.dry_run) {
      plan.reservations.settle(false);
      co_return uncommitted(write.target, plan);
    }
    if (const Result<void> took = co_await take(core, &plan); !took) {
      plan.reservations.settle(false);
      note_taken(*core, plan.reservations.taken());
      if (took.error().code != Code::already_exists || attempt == kMaxAttempts) {
        co_return took.error();
      }
      write.document = std::move(original);
      guard = {};
      co_await core->env.clock->sleep_for(kRaceWait);
      continue;
    }
    std::vector<store::Op> ops = std::move(plan.ops);
    for (store::Op& op : ops) op.author = core->authors.of(context);
    const store::Op lost{.type = ops.front().type, .key = ops.front().key};
    const std::vector<Result<ItemPtr>> verdicts = co_await core->store.commit(std::move(ops));
    const Result<ItemPtr>& verdict = verdicts.front();
    plan.reservations.settle(verdict.has_value());
    co_await settle_allocations(core, &plan, verdict);
    if (verdict) {
      committed(*core, write.target, *verdict, plan);
      co_return answer(write.target, plan, *verdict);
    }
    const Error error = explain(*core, write.target, plan, verdict.error(), lost);
    if (attempt == kMaxAttempts || !try_again(write, plan, verdict.error())) co_return error;
    guard = {};
    co_await core->env.clock->sleep_for(kRaceWait);
  }
}

namespace {

// Writes of a batch that do not touch the same object, planned together.
struct Round {
  std::vector<std::size_t> members;
  std::vector<std::string> keys;
};

Round next_round(const Core& core, const std::vector<Write>& writes,
                 std::vector<std::size_t>& left) {
  Round round;
  std::set<std::string> seen;
  std::vector<std::size_t> later;
  for (const std::size_t i : left) {
    std::vector<std::string> keys = keys_to_lock(core, writes[i]);
    const bool clash = std::any_of(keys.begin(), keys.end(),
                                   [&](const std::string& k) { return seen.contains(k); });
    // Order counts only among writes of one object; a later one waits for the next round.
    if (clash) {
      later.push_back(i);
    } else {
      round.members.push_back(i);
    }
    for (std::string& k : keys) {
      if (seen.insert(k).second && !clash) round.keys.push_back(std::move(k));
    }
  }
  left = std::move(later);
  return round;
}

struct Pending {
  std::size_t write;
  std::size_t first_op;
  Plan plan;
};

}  // namespace

Task<std::vector<Result<Written>>> write_many(Core* core, std::vector<Write> writes,
                                              WriteContext context) {
  std::vector<Result<Written>> results(writes.size(), Error{Code::internal, "not written"});
  if (core->store.decider() == store::Decider::nobody) {
    std::fill(results.begin(), results.end(), no_quorum());
    co_return results;
  }
  const store::Author author = core->authors.of(context);
  std::vector<std::size_t> left(writes.size());
  for (std::size_t i = 0; i < left.size(); ++i) left[i] = i;
  std::vector<std::size_t> again;
  while (!left.empty()) {
    Round round = next_round(*core, writes, left);
    KeyLocks::Guard guard = co_await core->locks.lock(std::move(round.keys));
    std::vector<Pending> pending;
    std::vector<store::Op> ops;
    for (const std::size_t i : round.members) {
      Plan plan;
      Value original = copy_for_another_try(*core, writes[i]);
      if (auto ok = make_plan(*core, writes[i], context, plan); !ok) {
        plan.reservations.settle(false);
        results[i] = ok.error();
      } else if (plan.ops.empty() || context.dry_run) {
        plan.reservations.settle(false);
        results[i] = uncommitted(writes[i].target, plan);
      } else if (const Result<void> took = co_await take(core, &plan); !took) {
        plan.reservations.settle(false);
        note_taken(*core, plan.reservations.taken());
        results[i] = took.error();
        writes[i].document = std::move(original);
        if (took.error().code == Code::already_exists) again.push_back(i);
      } else {
        const std::size_t first = ops.size();
        for (store::Op& op : plan.ops) op.author = author;
        std::move(plan.ops.begin(), plan.ops.end(), std::back_inserter(ops));
        pending.push_back({i, first, std::move(plan)});
      }
    }
    if (ops.empty()) continue;
    std::vector<store::Op> shown(pending.size());
    for (std::size_t p = 0; p < pending.size(); ++p) shown[p].key = ops[pending[p].first_op].key;
    const std::vector<Result<ItemPtr>> verdicts = co_await core->store.commit(std::move(ops));
    for (std::size_t p = 0; p < pending.size(); ++p) {
      Pending& one = pending[p];
      const Target& target = writes[one.write].target;
      const Result<ItemPtr>& verdict = verdicts[one.first_op];
      one.plan.reservations.settle(verdict.has_value());
      co_await settle_allocations(core, &one.plan, verdict);
      if (verdict) {
        committed(*core, target, *verdict, one.plan);
        results[one.write] = answer(target, one.plan, *verdict);
      } else {
        results[one.write] = explain(*core, target, one.plan, verdict.error(), shown[p]);
        if (try_again(writes[one.write], one.plan, verdict.error())) again.push_back(one.write);
      }
    }
  }
  for (const std::size_t i : again) {
    results[i] = co_await write_one(core, std::move(writes[i]), context);
  }
  co_return results;
}

Task<Result<Listing>> remove_matching(Core* core, Target target, ReadOptions which,
                                      DeleteOptions options, WriteContext context) {
  if (!target.resource->allows(api::kDeleteCollection)) {
    co_return errors::method_not_allowed(*target.resource, "deletecollection");
  }
  SKIFF_CO_TRY(Listing listing, read_list(*core, target, which));
  std::vector<Write> writes;
  for (const ItemPtr& item : listing.items) {
    Write w;
    w.type = Write::Type::remove;
    w.target = target;
    w.target.ns = target.resource->namespaced ? std::string(keys::namespace_of(item->key)) : "";
    w.target.name = std::string(keys::name_of(item->key));
    w.delete_options = options;
    writes.push_back(std::move(w));
  }
  const auto results = co_await write_many(core, std::move(writes), context);
  for (const Result<Written>& r : results) {
    // Somebody else was faster: gone is gone.
    if (!r && r.error().code != Code::not_found) co_return r.error();
  }
  co_return listing;
}

}  // namespace skiff::registry
