#include "checker.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace skiff::sim {
namespace {

using store::Event;
using store::Item;
using store::Op;
using store::Revision;

bool lazy(std::string_view key) { return key.starts_with(kLazyPrefix); }

bool has(const store::ItemPtr& item, const std::pair<std::string, std::string>& attribute) {
  const auto& all = item->attributes;
  return std::find(all.begin(), all.end(), attribute) != all.end();
}

std::string_view show(std::string_view value) { return value.substr(0, 24); }

}  // namespace

void Checker::add(int host, Version version) {
  const Revision revision = version.item->modified;
  const auto [it, fresh] = truth_.emplace(revision, version);
  if (fresh) return;
  const Version& known = it->second;
  const Item& a = *known.item;
  const Item& b = *version.item;
  if (&a == &b) return;
  if (a.key == b.key && a.value == b.value && a.created == b.created &&
      a.attributes == b.attributes && known.erase == version.erase) {
    return;
  }
  world_.violation("revision-reuse",
                   fmt::format("revision {} is {} = {}{}; on server {} it is {} = {}{}", revision,
                               a.key, show(a.value), known.erase ? " (erased)" : "", host, b.key,
                               show(b.value), version.erase ? " (erased)" : ""));
}

void Checker::decided(int host, const store::Record& record) {
  add(host, {record.item, record.previous, record.erase});
}

void Checker::published(int host, const Event& event) {
  const Revision previous = event.previous ? event.previous->modified : 0;
  add(host, {event.item, previous, event.type == Event::Type::erase});
}

void Checker::acknowledged(int client, const Op& op, const store::ItemPtr& got, Begun begun) {
  world_.count(Count::writes);
  const Revision revision = got->modified;
  if (revision <= begun.floor) {
    world_.violation("order", fmt::format("client {}: {} was given revision {}, but {} was "
                                          "acknowledged before it was asked for",
                                          client, op.key, revision, begun.floor));
  }
  const auto known = truth_.find(revision);
  if (known == truth_.end()) {
    world_.violation("unseen", fmt::format("client {}: {} was acknowledged at revision {}, which "
                                           "no server has shown",
                                           client, op.key, revision));
  } else if (known->second.item->key != op.key || known->second.item->value != got->value) {
    world_.violation("revision-reuse",
                     fmt::format("client {}: {} was acknowledged at revision {}, which is {}",
                                 client, op.key, revision, known->second.item->key));
  }
  if (!acks_.emplace(revision, op.key).second) {
    world_.violation("revision-reuse", fmt::format("client {}: revision {} was acknowledged twice",
                                                   client, revision));
  }
  floor_ = std::max(floor_, revision);
  if (!lazy(op.key)) seen_[op.key].push_back({revision, true, client, begun.at, world_.now()});
}

void Checker::refused(int client, const Op& op, Code code, Revision floor) {
  world_.count(Count::refusals);
  if (lazy(op.key)) return;
  refusals_.push_back({client, op.key, op.type, op.expect, code, floor, newest()});
}

void Checker::read(Read read, Begun begun) {
  world_.count(read.linearizable ? Count::reads : Count::stale_reads);
  if (read.linearizable) {
    if (read.revision < begun.floor) {
      world_.violation("stale-read",
                       fmt::format("client {}: a linearizable read on server {} shows revision {}, "
                                   "but {} was acknowledged before it was asked for",
                                   read.client, read.server, read.revision, begun.floor));
    }
    floor_ = std::max(floor_, read.revision);
    const std::string& key = read.range.begin;
    const bool single = read.range.end == key + '\0';
    if (single && !lazy(key)) {
      seen_[key].push_back({read.revision, false, read.client, begun.at, world_.now()});
    }
  }
  read.when = world_.now();
  reads_.push_back(std::move(read));
}

void Checker::watched(Segment segment) { segments_.push_back(std::move(segment)); }

// Walks all versions in order; between them, looks at what was read there.
void Checker::fold() {
  std::sort(reads_.begin(), reads_.end(),
            [](const Read& a, const Read& b) { return a.revision < b.revision; });
  std::map<std::string, const Version*> state;
  auto read = reads_.begin();
  for (const auto& [revision, version] : truth_) {
    for (; read != reads_.end() && read->revision < revision; ++read) check_read(*read, state);
    const std::string& key = version.item->key;
    by_key_[key].push_back(&version);
    const auto before = state.find(key);
    const Revision previous = before == state.end() ? 0 : before->second->item->modified;
    if (previous != version.previous && !lazy(key)) {
      world_.violation("lost-write",
                       fmt::format("{} at revision {} supersedes revision {}, but the newest "
                                   "before it is {}",
                                   key, revision, version.previous, previous));
    }
    const Revision made = before == state.end() ? revision : before->second->item->created;
    if (version.item->created != made && !lazy(key)) {
      world_.violation("created", fmt::format("{} at revision {} says it was created at {}, not {}",
                                              key, revision, version.item->created, made));
    }
    if (version.erase) {
      state.erase(key);
    } else {
      state[key] = &version;
    }
  }
  for (; read != reads_.end(); ++read) check_read(*read, state);
}

void Checker::check_read(const Read& read, const std::map<std::string, const Version*>& state) {
  auto it = state.lower_bound(read.range.begin);
  const auto skip = [&] {
    while (it != state.end() && lazy(it->first)) ++it;
  };
  const auto complain = [&](const std::string& key, Revision shown, Revision is) {
    world_.violation("wrong-state",
                     fmt::format("client {} on server {} at revision {}, after {:.3f} s: {} is "
                                 "shown at revision {}, but is at {} (0: absent)",
                                 read.client, read.server, read.revision,
                                 std::chrono::duration<double>(read.when).count(), key, shown, is));
  };
  for (const auto& item : read.items) {
    if (lazy(item->key)) continue;
    skip();
    if (it == state.end() || it->first != item->key) {
      const bool missing = it != state.end() && it->first < item->key;
      if (missing) return complain(it->first, 0, it->second->item->modified);
      return complain(item->key, item->modified, 0);
    }
    const Item& is = *it->second->item;
    if (is.modified != item->modified || is.value != item->value) {
      return complain(item->key, item->modified, is.modified);
    }
    ++it;
  }
  skip();
  if (it != state.end() && read.range.contains(it->first)) {
    complain(it->first, 0, it->second->item->modified);
  }
}

// Somewhere between what was acknowledged before the call and what existed when it was answered,
// the key must have been as the refusal says.
void Checker::check_refusal(const Refusal& refusal) {
  const auto suits = [&](const Version* version) {
    const bool exists = version != nullptr && !version->erase;
    switch (refusal.code) {
      case Code::not_found:
        return !exists;
      case Code::already_exists:
        return exists;
      default:
        return exists && refusal.expect && version->item->modified != *refusal.expect;
    }
  };
  const auto versions = by_key_.find(refusal.key);
  const Version* current = nullptr;
  if (versions != by_key_.end()) {
    for (const Version* v : versions->second) {
      if (v->item->modified > refusal.high) break;
      if (v->item->modified > refusal.low && suits(current)) return;
      current = v;
    }
  }
  if (suits(current)) return;
  world_.violation("stale-refusal",
                   fmt::format("client {}: {} (expected at {}) was refused with {}, which was true "
                               "at no revision from {} to {}",
                               refusal.client, refusal.key,
                               refusal.expect ? std::to_string(*refusal.expect) : "any",
                               name_of(refusal.code), refusal.low, refusal.high));
}

// Linearizability of one key. Its versions have an order already, their revisions; so what is left
// is to place each on the time line, as early as possible, within the call that made it and before
// the end of every call that saw it. (In general this is NP-complete; not with the order given.)
void Checker::check_key(const std::string& key, std::vector<Seen>& seen) {
  const auto& versions = by_key_[key];
  const auto version_of = [&](Revision at) {
    const auto after =
        std::upper_bound(versions.begin(), versions.end(), at,
                         [](Revision r, const Version* v) { return r < v->item->modified; });
    return after == versions.begin() ? Revision{0} : (*std::prev(after))->item->modified;
  };
  for (Seen& s : seen) {
    if (!s.write) s.revision = version_of(s.revision);
  }
  std::stable_sort(seen.begin(), seen.end(), [](const Seen& a, const Seen& b) {
    return a.revision != b.revision ? a.revision < b.revision : a.write && !b.write;
  });
  Duration made{};  // of the version at hand: it cannot have been made earlier
  Duration latest{};
  Revision current = 0;
  for (const Seen& s : seen) {
    if (s.revision != current) {
      current = s.revision;
      made = latest;
    }
    const Duration at = std::max(made, s.called);
    if (s.write) made = at;
    latest = std::max(latest, at);
    if (at <= s.answered) continue;
    world_.violation("linearizability",
                     fmt::format("client {}: {} {} at revision {} and was answered at {} ns, but "
                                 "what came before it was not there until {} ns",
                                 s.client, s.write ? "wrote" : "saw", key, s.revision,
                                 s.answered.count(), at.count()));
    return;
  }
}

void Checker::check_segment(const Segment& segment) {
  auto event = segment.events.begin();
  auto it = truth_.upper_bound(segment.after);
  for (; it != truth_.end() && it->first <= segment.upto; ++it) {
    const Version& v = it->second;
    const bool here = event != segment.events.end() && event->revision() == it->first;
    bool wanted = segment.range.contains(v.item->key);
    if (wanted && segment.attribute) {
      const auto old = truth_.find(v.previous);
      wanted = has(v.item, *segment.attribute) || (v.previous != 0 && old != truth_.end() &&
                                                   has(old->second.item, *segment.attribute));
      if (lazy(v.item->key) && here) wanted = true;
    }
    if (!wanted && !here) continue;
    // On disk a volatile key has only its last version: docs/internals/store.md.
    if (!here && lazy(v.item->key) && it->first <= segment.loaded) continue;
    if (wanted != here) {
      world_.violation(wanted ? "watch-gap" : "watch-stray",
                       fmt::format("client {}: a watch after {} up to {} {} revision {} ({})",
                                   segment.client, segment.after, segment.upto,
                                   wanted ? "was not given" : "was given", it->first, v.item->key));
      return;
    }
    const Revision previous = event->previous ? event->previous->modified : 0;
    const bool same_past = previous == v.previous || lazy(v.item->key);
    if (event->item->value != v.item->value || event->item->key != v.item->key ||
        (event->type == Event::Type::erase) != v.erase || !same_past) {
      world_.violation("watch-event",
                       fmt::format("client {}: revision {} ({}) was not shown as it "
                                   "is: previous {} instead of {}",
                                   segment.client, it->first, v.item->key, previous, v.previous));
      return;
    }
    ++event;
  }
  if (event != segment.events.end()) {
    world_.violation("watch-stray", fmt::format("client {}: a watch was given revision {}, which "
                                                "does not exist or is beyond its bookmark {}",
                                                segment.client, event->revision(), segment.upto));
  }
}

void Checker::finish() {
  fold();
  for (const Refusal& refusal : refusals_) check_refusal(refusal);
  for (auto& [key, seen] : seen_) check_key(key, seen);
  for (const Segment& segment : segments_) check_segment(segment);
}

}  // namespace skiff::sim
