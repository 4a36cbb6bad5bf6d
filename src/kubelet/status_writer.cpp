#include "status_writer.hpp"

#include "skiff/client/reconcile.hpp"

#include "skiff/client/reflector.hpp"

namespace skiff::kubelet {

using client::resources::kPods;

bool covers(const Value& shown, const Value& wanted) {
  if (wanted.is_object()) {
    if (!shown.is_object()) return wanted.empty() && shown.is_null();
    for (const auto& [name, value] : wanted.members()) {
      if (!covers(shown[name], value)) return false;
    }
    return true;
  }
  if (wanted.is_array()) {
    if (shown.size() != wanted.size()) {
      // Conditions may hold others' entries besides ours.
      if (wanted.empty() || !wanted.items()[0].has("type")) return wanted.empty() && shown.empty();
    }
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Value& item = wanted.items()[i];
      const Value* match = i < shown.size() ? &shown.items()[i] : nullptr;
      if (item.has("type")) {
        match = nullptr;
        for (const Value& s : shown.items()) {
          if (s["type"] == item["type"]) match = &s;
        }
      }
      if (match == nullptr || !covers(*match, item)) return false;
    }
    return true;
  }
  if (wanted.is_null()) return shown.is_null();
  if (shown.is_null()) {
    // Fields that are left out when they hold the zero value.
    return wanted == Value(false) || wanted == Value(0) || wanted == Value("");
  }
  return shown == wanted;
}

StatusWriter::StatusWriter(Env env, client::Client& client)
    : env_(env), client_(client), changed_(env.executor) {}

// Whether writing `status` would change nothing. A view of the pod from before our last write says
// nothing about it; a newer one may show that somebody else has changed what we wrote.
bool StatusWriter::is_known(const api::Object& pod, const Value& status) const {
  const auto last = last_.find(pod.uid());
  if (last == last_.end()) return covers(pod["status"], status);
  const Written& written = last->second;
  const bool same = written.status == status;
  if (client::revision_of(pod) < written.revision) return same;
  return covers(pod["status"], status) || (same && !written.kept);
}

void StatusWriter::set(ObjectPtr pod, Value status) {
  const std::string& uid = pod->uid();
  if (is_known(*pod, status)) {
    pending_.erase(uid);
    return;
  }
  pending_[uid] = {std::move(pod), std::move(status)};
  changed_.notify_all();
}

client::Write StatusWriter::patch(const api::Object& pod, Value status) {
  client::Write w;
  w.type = client::Write::Type::patch;
  w.patch_type = api::PatchType::strategic;
  w.ref = kPods.at(pod.key()).sub("status");
  w.object = Value::object({{"metadata", Value::object({{"uid", Value(pod.uid())}})}});
  w.object.set("status", std::move(status));
  return w;
}

Task<Result<void>> StatusWriter::finish(ObjectPtr pod, std::optional<Value> status) {
  pending_.erase(pod->uid());
  std::vector<client::Write> writes;
  if (status && !covers((*pod)["status"], *status))
    writes.push_back(patch(*pod, std::move(*status)));
  client::Write removal;
  removal.type = client::Write::Type::remove;
  removal.ref = kPods.at(pod->key());
  removal.delete_options.grace_period_seconds = 0;
  removal.delete_options.uid = pod->uid();
  writes.push_back(std::move(removal));
  const std::vector<Result<ObjectPtr>> results = co_await client_.batch(std::move(writes));
  const Result<ObjectPtr>& removed = results.back();
  if (!removed && removed.error().code != Code::not_found &&
      removed.error().code != Code::conflict) {
    co_return removed.error();
  }
  co_return Result<void>();
}

void StatusWriter::forget(const std::string& uid) {
  pending_.erase(uid);
  last_.erase(uid);
}

Task<void> StatusWriter::run() {
  for (;;) {
    while (pending_.empty()) co_await changed_.wait();
    co_await yield();  // workers that are ready in this turn join the batch
    const std::map<std::string, Pending> taken = std::exchange(pending_, {});
    // Entries that forget() takes away meanwhile stay away.
    for (const auto& [uid, p] : taken) last_.try_emplace(uid);
    std::vector<client::Write> writes;
    writes.reserve(taken.size());
    for (const auto& [uid, p] : taken) writes.push_back(patch(*p.pod, p.status));
    const std::vector<Result<ObjectPtr>> results = co_await client_.batch(std::move(writes));
    bool again = false;
    std::size_t i = 0;
    for (const auto& [uid, p] : taken) {
      const Result<ObjectPtr>& result = results[i++];
      if (result) {
        const auto last = last_.find(uid);
        if (last == last_.end()) continue;
        last->second.status = p.status;
        last->second.revision = client::revision_of(**result);
        last->second.kept = covers((**result)["status"], p.status);
      } else if (result.error().code != Code::not_found && result.error().code != Code::conflict) {
        log::warn("kubelet", "pod status not written",
                  {{"pod", p.pod->key().to_string()}, {"error", result.error()}});
        pending_.try_emplace(uid, p);
        again = true;
      }
    }
    if (again) co_await env_.clock->sleep_for(1s);
  }
}

}  // namespace skiff::kubelet
