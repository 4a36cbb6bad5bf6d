#include "codec.hpp"

namespace skiff::etcd {
namespace {

constexpr std::size_t kMaxAuthors = 1000;  // kept for sharing

}  // namespace

store::Range Keys::objects(const store::Range& range) const {
  store::Range out;
  out.begin = objects_ + range.begin;
  out.end = range.end.empty() ? store::Range::prefix(objects_).end : objects_ + range.end;
  return out;
}

Envelope Codec::envelope(const store::Op& op) const {
  Envelope e;
  e.erase = op.type == store::Op::Type::erase;
  e.is_volatile = op.is_volatile;
  if (e.erase) e.key = op.key;
  if (op.author) e.author = *op.author;
  e.slot = op.revision_slot;
  e.attributes = op.attributes;
  e.sealed = sealer_ && sealer_->covers(op.key);
  e.value = e.sealed ? sealer_->seal(op.key, op.value) : op.value;
  return e;
}

Result<std::string> Codec::open(std::string_view key, const Envelope& e) const {
  if (!e.sealed) return e.value;
  if (!sealer_) return Error{Code::invalid, "it is encrypted, and no key is configured"};
  SKIFF_TRY(std::string value, sealer_->open(key, e.value));
  if (e.slot != store::kNoSlot && e.slot > value.size()) {
    return Error{Code::invalid, "it is damaged"};
  }
  return value;
}

store::Author Codec::author(const std::string& name) {
  if (name.empty()) return nullptr;
  const auto it = authors_.find(name);
  if (it != authors_.end()) return it->second;
  if (authors_.size() >= kMaxAuthors) authors_.clear();
  auto made = std::make_shared<const std::string>(name);
  authors_.emplace(name, made);
  return made;
}

Result<store::Record> Codec::make(std::string key, Envelope e, Revision created,
                                  Revision modified) {
  auto value = open(key, e);
  if (!value) return annotate(value.error(), "\"" + key + "\" in etcd");
  auto item = std::make_shared<store::Item>();
  item->key = std::move(key);
  item->value = splice(std::move(*value), e.slot, modified);
  item->created = created;
  item->modified = modified;
  item->attributes = std::move(e.attributes);
  store::Record record;
  record.item = std::move(item);
  record.previous = e.previous;
  record.erase = e.erase;
  record.is_volatile = e.is_volatile;
  record.time = WallTime{std::chrono::microseconds(e.time)};
  record.author = author(e.author);
  return record;
}

Result<store::Record> Codec::record(const KeyValue& kv) {
  if (!keys.is_object(kv.key)) {
    return Error{Code::invalid, "etcd's answer is malformed: it holds a key not asked for"};
  }
  auto e = decode(kv.value);
  if (!e) return annotate(e.error(), "\"" + kv.key + "\" in etcd");
  std::string key(keys.store_key(kv.key));
  if (e->erase || key.empty()) {
    return Error{Code::invalid, "\"" + kv.key + "\" in etcd: it was not written by skiff"};
  }
  return make(std::move(key), std::move(*e), kv.created, kv.modified);
}

Result<store::Record> Codec::erased(const KeyValue& newest) {
  auto e = decode(newest.value);
  if (!e) return annotate(e.error(), "\"" + newest.key + "\" in etcd");
  if (!e->erase || e->key.empty()) {
    return Error{Code::invalid, "\"" + newest.key + "\" in etcd: it was not written by skiff"};
  }
  std::string key = e->key;
  const Revision created = e->created;
  return make(std::move(key), std::move(*e), created, newest.modified);
}

Result<Folder::Folded> Folder::feed(const WatchAnswer& answer) {
  Folded out;
  for (const WatchEvent& event : answer.events) {
    if (event.kv.modified < revision_ || event.kv.modified <= finished_) {
      return Error{Code::invalid, "etcd's answer is malformed: revisions go back"};
    }
    if (event.kv.modified != revision_) {
      SKIFF_CHECK(finish(out));
      if (out.foreign != 0) return out;
      revision_ = event.kv.modified;
    }
    if (event.kv.key == codec_.keys.newest) {
      has_newest_ = !event.erase;
      newest_ = event.kv;
    } else if (codec_.keys.is_object(event.kv.key)) {
      if (changes_++ == 0) change_ = event;
    }
  }
  if (!answer.fragment) SKIFF_CHECK(finish(out));
  return out;
}

Result<void> Folder::finish(Folded& out) {
  finished_ = revision_;
  const std::size_t changes = std::exchange(changes_, 0);
  const bool ours = std::exchange(has_newest_, false) && changes == 1;
  if (changes == 0) return {};
  bool fits = ours;
  if (ours && change_.erase) {
    SKIFF_TRY(auto record, codec_.erased(newest_));
    fits = record.item->key == codec_.keys.store_key(change_.kv.key);
    if (fits) out.records.push_back(std::move(record));
  } else if (ours) {
    SKIFF_TRY(auto record, codec_.record(change_.kv));
    out.records.push_back(std::move(record));
  }
  if (!fits) out.foreign = revision_;
  return {};
}

}  // namespace skiff::etcd
