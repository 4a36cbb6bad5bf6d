// A batch as bytes, and what it does to what is known.
#include "segments.hpp"

namespace skiff::raft {
namespace {

constexpr char kBatchVersion = 1;
constexpr std::uint64_t kState = 1;
constexpr std::uint64_t kMark = 2;
constexpr std::uint64_t kRestart = 4;

Error damaged() { return {Code::internal, "a record of raft's entries is damaged"}; }

}  // namespace

std::string encode_batch(const Entries::Batch& batch) {
  std::string out;
  std::size_t size = 64;
  for (const Entry& entry : batch.entries) size += entry.data->size() + 16;
  out.reserve(size);
  out.push_back(kBatchVersion);
  put_number(out, (batch.state ? kState : 0U) | (batch.snapshot ? kMark : 0U) |
                      (batch.restart ? kRestart : 0U));
  if (batch.state) {
    put_number(out, batch.state->term);
    put_number(out, batch.state->vote);
    put_number(out, batch.state->cluster);
    put_number(out, batch.state->self);
  }
  if (batch.snapshot) {
    put_number(out, batch.snapshot->index);
    put_number(out, batch.snapshot->term);
    put_number(out, batch.snapshot->servers_index);
    put_bytes(out, batch.snapshot->servers);
  }
  put_number(out, batch.keep_from);
  put_number(out, batch.committed);
  put_number(out, batch.first);
  put_number(out, batch.entries.size());
  for (const Entry& entry : batch.entries) {
    put_number(out, entry.term);
    out.push_back(static_cast<char>(entry.kind));
    put_bytes(out, *entry.data);
  }
  return out;
}

Result<Entries::Batch> decode_batch(std::string_view bytes) {
  if (bytes.empty()) return damaged();
  if (bytes.front() != kBatchVersion) {
    return Error{Code::internal, "raft's entries were written by a newer skiff: update this one"};
  }
  WireReader in(bytes.substr(1));
  Entries::Batch out;
  const std::uint64_t flags = in.number();
  if ((flags & kState) != 0) {
    HardState state;
    state.term = in.number();
    state.vote = in.number();
    state.cluster = in.number();
    state.self = in.number();
    out.state = state;
  }
  if ((flags & kMark) != 0) {
    SnapshotMark mark;
    mark.index = in.number();
    mark.term = in.number();
    mark.servers_index = in.number();
    mark.servers = in.bytes();
    if (mark.index != 0) SKIFF_CHECK(decode_servers(mark.servers));
    out.snapshot = std::move(mark);
  }
  out.restart = (flags & kRestart) != 0;
  out.keep_from = in.number();
  out.committed = in.number();
  out.first = in.number();
  const std::size_t n = in.count();
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    Entry entry;
    entry.term = in.number();
    const std::uint64_t kind = in.fixed(1);
    if (kind < 1 || kind > 3 || entry.term == 0) in.fail();
    entry.kind = static_cast<Entry::Kind>(kind);
    entry.data = std::make_shared<const std::string>(std::string(in.bytes()));
    if (entry.kind == Entry::Kind::servers) SKIFF_CHECK(decode_servers(*entry.data));
    out.entries.push_back(std::move(entry));
  }
  if (!in.done() || flags > 7 || (n > 0 && out.first == 0)) return damaged();
  return out;
}

bool apply_batch(Entries::Loaded& loaded, Entries::Batch batch) {
  if (batch.state) loaded.state = *batch.state;
  if (batch.snapshot) loaded.snapshot = std::move(*batch.snapshot);
  if (batch.restart) {
    loaded.entries.clear();
    loaded.first = loaded.snapshot.index + 1;
  }
  loaded.committed = std::max(loaded.committed, batch.committed);
  if (batch.first != 0) {
    const Index end = loaded.first + loaded.entries.size();
    // The first entries that are read may follow ones that are gone with an older file.
    if (loaded.entries.empty() && !batch.restart && batch.first > loaded.first) {
      loaded.first = batch.first;
    } else if (batch.first > end || batch.first < loaded.first) {
      return false;
    } else {
      loaded.entries.resize(batch.first - loaded.first);
    }
    for (Entry& entry : batch.entries) loaded.entries.push_back(std::move(entry));
  }
  if (batch.keep_from > loaded.first) {
    const Index end = loaded.first + loaded.entries.size();
    const Index drop = std::min(batch.keep_from, end) - loaded.first;
    loaded.entries.erase(loaded.entries.begin(),
                         loaded.entries.begin() + static_cast<std::ptrdiff_t>(drop));
    loaded.first += drop;
  }
  return true;
}

}  // namespace skiff::raft
