// Between store keys and records on one side, etcd's keys and values on the other.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "envelope.hpp"
#include "wire.hpp"

namespace skiff::etcd {

// The keys under the prefix. `newest` and `objects` are neighbours in etcd's order with nothing of
// skiff's between them, so that one watch sees those two and not the others.
class Keys {
 public:
  explicit Keys(const std::string& prefix)
      : format(prefix + "/format"),
        cluster(prefix + "/cluster"),
        compaction(prefix + "/compaction"),
        instance(prefix + "/instance"),
        leader(prefix + "/leader"),
        servers(prefix + "/servers/"),
        newest(prefix + "/newest"),
        objects_(prefix + "/objects") {}

  std::string object(std::string_view key) const { return objects_ + std::string(key); }
  bool is_object(std::string_view etcd_key) const { return etcd_key.starts_with(objects_); }
  std::string_view store_key(std::string_view etcd_key) const {
    return etcd_key.substr(objects_.size());
  }
  // Keys of etcd: those of `range`, and all that a watch should see.
  store::Range objects(const store::Range& range) const;
  store::Range watched() const { return {newest, objects({}).end}; }

  const std::string format;      // "1"
  const std::string cluster;     // EtcdOptions::cluster
  const std::string compaction;  // up to where a server had etcd compact
  const std::string instance;    // random: tells an etcd that was wiped and filled anew
  const std::string leader;      // who leads, while it does
  const std::string servers;     // begins the keys of those who stand or lead
  const std::string newest;      // written by every transaction; holds the tombstone of an erase

 private:
  std::string objects_;
};

class Codec {
 public:
  Codec(std::string prefix, std::shared_ptr<const store::Sealer> sealer)
      : keys(prefix), sealer_(std::move(sealer)) {}

  // The envelope of an Op without its history: value, slot, attributes, author; sealed.
  Envelope envelope(const store::Op& op) const;
  // The record of an object's key. Errors name the key.
  Result<store::Record> record(const KeyValue& kv);
  // The record of what the tombstone at `newest` says.
  Result<store::Record> erased(const KeyValue& newest);
  // An envelope's value, opened.
  Result<std::string> open(std::string_view key, const Envelope& envelope) const;

  const Keys keys;

 private:
  Result<store::Record> make(std::string key, Envelope envelope, Revision created,
                             Revision modified);
  store::Author author(const std::string& name);

  std::shared_ptr<const store::Sealer> sealer_;
  std::unordered_map<std::string, store::Author> authors_;
};

// Turns the events of a watch into records: a revision is one transaction, told by `newest` and an
// object. Transactions may be spread over answers.
class Folder {
 public:
  explicit Folder(Codec& codec) : codec_(codec) {}
  struct Folded {
    std::vector<store::Record> records;
    Revision foreign = 0;  // somebody else changed objects at this revision; the rest is not told
  };
  // All whole revisions up to the end of `answer`.
  Result<Folded> feed(const WatchAnswer& answer);

 private:
  Result<void> finish(Folded& out);

  Codec& codec_;
  Revision revision_ = 0;    // of the group
  Revision finished_ = 0;    // all up to here is told
  std::size_t changes_ = 0;  // of objects in it
  WatchEvent change_;        // the first of those
  bool has_newest_ = false;
  KeyValue newest_;
};

}  // namespace skiff::etcd
