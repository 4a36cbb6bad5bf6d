#include "deployment_plan.hpp"

#include <cmath>
#include <limits>

namespace skiff::controllers {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kHistoryChars = 2000;

// The template's metadata without the hash label, and without what is as good as absent.
Value plain_metadata(const Value& pod_template) {
  Value meta = pod_template["metadata"];
  if (Value* labels = meta.find("labels")) labels->erase(kHashLabel);
  for (const char* field : {"labels", "annotations"}) {
    if (meta[field].empty()) meta.erase(field);
  }
  meta.erase("creationTimestamp");
  return meta;
}

std::int64_t resolved(const Rollout& r, const char* field, bool round_up) {
  const Value& v = r.deployment["spec"]["strategy"]["rollingUpdate"][field];
  return int_or_percent(v, r.wanted(), round_up,
                        int_or_percent(Value("25%"), r.wanted(), round_up, 0));
}

std::optional<std::int64_t> annotation(const SetView& set, const char* name) {
  return to_int(set.object->annotations()[name].as_string());
}

// The one set to scale when there is nothing to spread over.
std::optional<std::size_t> active_or_latest(const Rollout& r) {
  std::vector<std::size_t> active;
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (r.sets[i].replicas > 0) active.push_back(i);
  }
  if (active.size() == 1) return active.front();
  if (!active.empty() || r.sets.empty()) return std::nullopt;
  return r.newest ? *r.newest : r.sets.size() - 1;
}

// Nothing is left of the rollout but old pods that the change of size makes superfluous.
bool saturated(const Rollout& r) {
  if (!r.newest) return false;
  const SetView& set = r.sets[*r.newest];
  return annotation(set, kDesiredReplicas) == r.wanted() && set.replicas == r.wanted() &&
         set.available == r.wanted();
}

// How much of `to_add` (perhaps negative) falls to this set, `added` being given out already.
std::int64_t proportion(const Rollout& r, const SetView& set, std::int64_t to_add,
                        std::int64_t added) {
  if (set.replicas == 0 || to_add == 0 || to_add == added) return 0;
  std::int64_t fraction = -set.replicas;
  if (r.wanted() > 0) {
    std::int64_t before = annotation(set, kMaxReplicas).value_or(0);
    if (before == 0) before = r.deployment["status"]["replicas"].as_int();
    if (before == 0) return 0;
    const double size = static_cast<double>(set.replicas * (r.wanted() + r.max_surge())) /
                        static_cast<double>(before);
    fraction = std::llround(size) - set.replicas;
  }
  const std::int64_t allowed = to_add - added;
  return to_add > 0 ? std::min(fraction, allowed) : std::max(fraction, allowed);
}

}  // namespace

SetView::SetView(ObjectPtr rs) : object(std::move(rs)) {
  const Value& status = (*object)["status"];
  replicas = (*object)["spec"]["replicas"].as_int(1);
  current = status["replicas"].as_int();
  ready = status["readyReplicas"].as_int();
  available = status["availableReplicas"].as_int();
  if (status["terminatingReplicas"].is_int()) terminating = status["terminatingReplicas"].as_int();
}

bool same_template(const Value& a, const Value& b) {
  return a["spec"] == b["spec"] && plain_metadata(a) == plain_metadata(b);
}

Rollout::Rollout(Value d, std::vector<ObjectPtr> replica_sets) : deployment(std::move(d)) {
  std::ranges::sort(replica_sets, [](const ObjectPtr& a, const ObjectPtr& b) {
    const WallTime ta = created_at(*a);
    const WallTime tb = created_at(*b);
    return ta != tb ? ta < tb : a->name() < b->name();
  });
  for (ObjectPtr& rs : replica_sets) {
    const bool same = same_template((*rs)["spec"]["template"], deployment["spec"]["template"]);
    if (same && !newest) newest = sets.size();
    sets.emplace_back(std::move(rs));
  }
}

bool Rollout::rolling() const {
  return deployment["spec"]["strategy"]["type"].as_string() != "Recreate";
}

std::int64_t Rollout::total() const {
  std::int64_t sum = 0;
  for (const SetView& set : sets) sum += set.replicas;
  return sum;
}

std::int64_t Rollout::max_surge() const {
  return rolling() ? resolved(*this, "maxSurge", true) : 0;
}

std::int64_t Rollout::max_unavailable() const {
  if (!rolling() || wanted() == 0) return 0;
  std::int64_t n = resolved(*this, "maxUnavailable", false);
  // Rounding may have made both zero, and then nothing could ever move.
  if (n == 0 && max_surge() == 0) n = 1;
  return std::min(n, wanted());
}

bool Rollout::has_deadline() const {
  const Value& seconds = deployment["spec"]["progressDeadlineSeconds"];
  return !seconds.is_null() && seconds.as_int() != kForever;
}

Duration Rollout::deadline() const {
  return std::chrono::seconds(deployment["spec"]["progressDeadlineSeconds"].as_int());
}

std::int64_t new_set_size(const Rollout& r, std::int64_t present) {
  if (!r.rolling()) return r.wanted();
  const std::int64_t room = r.wanted() + r.max_surge() - r.total();
  if (room <= 0) return present;
  return present + std::min(room, r.wanted() - present);
}

bool scaling_event(const Rollout& r) {
  return std::ranges::any_of(r.sets, [&](const SetView& set) {
    const auto desired = annotation(set, kDesiredReplicas);
    return set.replicas > 0 && desired && *desired != r.wanted();
  });
}

std::vector<Scale> plan_proportional(const Rollout& r) {
  if (const auto only = active_or_latest(r)) {
    if (r.sets[*only].replicas == r.wanted()) return {};
    return {{*only, r.wanted()}};
  }
  std::vector<Scale> out;
  if (saturated(r)) {
    for (std::size_t i = 0; i < r.sets.size(); ++i) {
      if (!r.is_new(i) && r.sets[i].replicas > 0) out.push_back({i, 0});
    }
    return out;
  }
  if (!r.rolling()) return out;
  const std::int64_t allowed = r.wanted() > 0 ? r.wanted() + r.max_surge() : 0;
  const std::int64_t to_add = allowed - r.total();
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (r.sets[i].replicas > 0) out.push_back({i, r.sets[i].replicas});
  }
  // Largest first; among equals, growth favours the newer set and shrinking hits the older one.
  std::ranges::stable_sort(out, [&](const Scale& a, const Scale& b) {
    if (a.to != b.to) return a.to > b.to;
    return to_add > 0 ? a.set > b.set : a.set < b.set;
  });
  std::int64_t added = 0;
  for (Scale& scale : out) {
    const std::int64_t share = proportion(r, r.sets[scale.set], to_add, added);
    scale.to += share;
    added += share;
  }
  // What rounding left over goes to the largest.
  if (!out.empty() && to_add != 0) {
    out.front().to = std::max<std::int64_t>(0, out.front().to + to_add - added);
  }
  return out;
}

std::vector<Scale> plan_rolling(const Rollout& r) {
  if (!r.newest) return {};
  const SetView& fresh = r.sets[*r.newest];
  if (fresh.replicas > r.wanted()) return {{*r.newest, r.wanted()}};
  if (fresh.replicas < r.wanted()) {
    const std::int64_t size = new_set_size(r, fresh.replicas);
    if (size != fresh.replicas) return {{*r.newest, size}};
  }
  // Old sets give up what is above the minimum that must be available: pods that are not even
  // healthy first, then available ones.
  const std::int64_t minimum = r.wanted() - r.max_unavailable();
  std::int64_t available = 0;
  for (const SetView& set : r.sets) available += set.available;
  const std::int64_t fresh_unavailable = fresh.replicas - fresh.available;
  const std::int64_t most = r.total() - minimum - fresh_unavailable;
  if (most <= 0) return {};
  std::vector<std::int64_t> size;
  for (const SetView& set : r.sets) size.push_back(set.replicas);
  std::int64_t left = most;
  for (std::size_t i = 0; i < r.sets.size() && left > 0; ++i) {
    if (r.is_new(i)) continue;
    const std::int64_t sick = std::clamp<std::int64_t>(size[i] - r.sets[i].available, 0, left);
    size[i] -= sick;
    left -= sick;
  }
  left = std::max<std::int64_t>(0, available - minimum);
  for (std::size_t i = 0; i < r.sets.size() && left > 0; ++i) {
    if (r.is_new(i)) continue;
    const std::int64_t count = std::min(size[i], left);
    size[i] -= count;
    left -= count;
  }
  std::vector<Scale> out;
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (size[i] != r.sets[i].replicas) out.push_back({i, size[i]});
  }
  return out;
}

std::vector<Scale> plan_recreate_down(const Rollout& r) {
  std::vector<Scale> out;
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (!r.is_new(i) && r.sets[i].replicas > 0) out.push_back({i, 0});
  }
  return out;
}

std::int64_t revision_of_set(const api::Object& rs) {
  return to_int(rs.annotations()[kRevision].as_string()).value_or(0);
}

namespace {

bool own_annotation(std::string_view name) {
  static constexpr std::string_view kOwn[] = {
      "kubectl.kubernetes.io/last-applied-configuration",
      kRevision,
      kRevisionHistory,
      kDesiredReplicas,
      kMaxReplicas,
      "deprecated.deployment.rollback.to",
  };
  return std::ranges::find(kOwn, name) != std::end(kOwn);
}

// Appends to the comma-separated history, dropping the oldest entries beyond its length limit.
std::string extend_history(std::string history, const std::string& revision) {
  if (history.empty()) return revision;
  history += "," + revision;
  while (history.size() > kHistoryChars) {
    const auto comma = history.find(',');
    if (comma == std::string::npos) break;
    history.erase(0, comma + 1);
  }
  return history;
}

}  // namespace

Value new_set_annotations(const Rollout& r, const Value& present, std::int64_t revision,
                          bool exists) {
  Value out = present.is_object() ? present : Value::object();
  for (const api::Member& m : r.deployment["metadata"]["annotations"].members()) {
    if (!own_annotation(m.name)) out.set(m.name, m.value);
  }
  const std::string old = out[kRevision].as_string();
  if (to_int(old).value_or(0) < revision) {
    out.set(kRevision, std::to_string(revision));
    if (!old.empty()) {
      out.set(kRevisionHistory, extend_history(out[kRevisionHistory].as_string(), old));
    }
  }
  if (!exists) {
    out.set(kDesiredReplicas, std::to_string(r.wanted()));
    out.set(kMaxReplicas, std::to_string(r.wanted() + r.max_surge()));
  }
  return out;
}

std::vector<ObjectPtr> plan_cleanup(const Rollout& r) {
  const Value& limit = r.deployment["spec"]["revisionHistoryLimit"];
  if (limit.is_null() || limit.as_int() == kForever) return {};
  std::vector<const SetView*> old;
  for (std::size_t i = 0; i < r.sets.size(); ++i) {
    if (!r.is_new(i) && !r.sets[i].object->deleting()) old.push_back(&r.sets[i]);
  }
  const auto excess = static_cast<std::int64_t>(old.size()) - limit.as_int();
  std::ranges::stable_sort(old, {}, [](const SetView* s) { return revision_of_set(*s->object); });
  std::vector<ObjectPtr> out;
  for (std::int64_t i = 0; i < excess; ++i) {
    const SetView& set = *old[static_cast<std::size_t>(i)];
    const std::int64_t observed = (*set.object)["status"]["observedGeneration"].as_int();
    if (set.current != 0 || set.replicas != 0 || set.object->generation() > observed) continue;
    out.push_back(set.object);
  }
  return out;
}

}  // namespace skiff::controllers
