// Objects are written once more when the key that seals them, or what is covered, has changed.
#include <set>

#include "encryption.hpp"
#include "skiff/pki/certificate.hpp"
#include "skiff/registry/scan.hpp"

namespace skiff::app {
namespace {

constexpr std::size_t kPage = 64;
constexpr Duration kBreath = 5ms;  // between pages: other writers come first
constexpr Duration kRetry = 5s;
constexpr Duration kRetireCheck = 10min;

}  // namespace

store::Op touch(const store::Item& item) {
  static const auto kAuthor = std::make_shared<const std::string>("system:skiff/encryption");
  store::Op op;
  op.key = item.key;
  op.value = item.value;
  op.expect = item.modified;
  op.attributes = item.attributes;
  op.author = kAuthor;
  const std::string_view token = registry::scan::find(item.value, {"metadata", "resourceVersion"});
  if (token.size() >= 2) {
    const auto at = static_cast<std::size_t>(token.data() - item.value.data()) + 1;
    op.value.erase(at, token.size() - 2);
    op.revision_slot = static_cast<std::uint32_t>(at);
  }
  return op;
}

bool Encryption::due() const {
  return progress_.sealed_with != sealer_->keys()->ids().front() || progress_.kinds != kinds_;
}

void Encryption::start(TaskGroup& group, store::Store& store, std::function<bool()> old_free) {
  group_ = &group;
  store_ = &store;
  old_free_ = std::move(old_free);
  kick();
}

void Encryption::kick() {
  if (!group_) return;
  if (due()) {
    again_ = true;
    if (!std::exchange(rewriting_, true)) group_->spawn("encryption: rewrite", rewrite());
  } else if (!retiring_ && sealer_->keys()->size() > 1 && source_ == Source::made) {
    retiring_ = true;
    group_->spawn("encryption: retire keys", retire());
  }
}

// False when it has to be tried again later. `*from` moves on, and is empty at the end.
Task<bool> Encryption::rewrite_page(std::string prefix, std::string* from) {
  store::Range range = store::Range::prefix(prefix);
  if (!from->empty()) range.begin = *from;
  const auto page = store_->range(range, kPage);
  if (!page) co_return false;
  std::vector<store::Op> ops;
  for (const store::ItemPtr& item : page->items) ops.push_back(touch(*item));
  if (!ops.empty()) {
    const auto verdicts = co_await store_->commit(std::move(ops));
    for (const auto& verdict : verdicts) {
      // Whoever was faster has sealed it with the new key, or removed it.
      const bool fine = verdict || verdict.error().code == Code::conflict ||
                        verdict.error().code == Code::not_found;
      if (!fine) co_return false;
    }
    done_ += verdicts.size();
  }
  *from = page->more ? page->items.back()->key + '\0' : std::string();
  co_return true;
}

Task<void> Encryption::rewrite() {
  // What was covered before and is no longer must be written in the clear.
  std::vector<std::string> kinds;
  for (std::size_t at = 0; at < progress_.kinds.size();) {
    const std::size_t end = std::min(progress_.kinds.find(',', at), progress_.kinds.size());
    kinds.push_back(progress_.kinds.substr(at, end - at));
    at = end + 1;
  }
  while (again_) {
    again_ = false;
    const std::string id = sealer_->keys()->ids().front();
    std::set<std::string> prefixes(sealer_->prefixes().begin(), sealer_->prefixes().end());
    if (const auto before = encryption_prefixes(kinds)) {
      prefixes.insert(before->begin(), before->end());
    }
    done_ = 0;
    total_ = 0;
    for (const std::string& prefix : prefixes) {
      const auto first = store_->range(store::Range::prefix(prefix), 1);
      if (first) total_ += first->items.size() + first->remaining;
    }
    for (const std::string& prefix : prefixes) {
      std::string from;
      for (bool more = true; more;) {
        const bool went = co_await rewrite_page(prefix, &from);
        more = !went || !from.empty();
        if (more) co_await env_.clock->sleep_for(went ? kBreath : kRetry);
      }
    }
    progress_ = {id, kinds_, store_->revision()};
    if (const auto ok = write_progress(); !ok) {
      log::warn("app", "cannot note that encryption is up to date", {{"error", ok.error()}});
    }
    log::info("app", "everything covered is encrypted with the newest key",
              {{"key", id}, {"objects", done_}});
  }
  rewriting_ = false;
  kick();
}

// Keys made here go once nothing that can still be read was sealed with them.
Task<void> Encryption::retire() {
  for (;;) {
    const bool free = !due() && store_->compacted() >= progress_.revision && old_free_();
    if (free || sealer_->keys()->size() < 2) break;
    co_await env_.clock->sleep_for(kRetireCheck);
  }
  retiring_ = false;
  if (sealer_->keys()->size() < 2) co_return;
  const pki::SealKeys kept = sealer_->keys()->keep(1);
  const Result<void> written = pki::write_private_file(
      origin_,
      "# Older keys were removed: nothing was encrypted with them any more.\n" + kept.to_text());
  if (!written) {
    log::warn("app", "an old encryption key stays", {{"error", written.error()}});
    co_return;
  }
  sealer_->set_keys(kept);
  log::info("app", "old encryption keys removed");
}

}  // namespace skiff::app
