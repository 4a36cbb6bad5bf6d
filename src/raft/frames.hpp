// One frame: a message of the core, or of what surrounds it.
#pragma once

#include "engine.h"
#include "records.hpp"

namespace skiff::raft {

enum class FrameType : std::uint8_t {
  core = 1,
  forward = 2,        // request, ops
  verdicts = 3,       // request, verdicts
  read = 4,           // request: a revision, please
  revision = 5,       // request, verdict
  confirm = 6,        // term, round: am I still the leader?
  confirmed = 7,      // term, round: as far as I know
  change = 8,         // request, verb, server
  changed = 9,        // request, outcome
  snapshot = 10,      // a part of one
  snapshot_ack = 11,  // transfer, parts received in order
  stranger = 12,      // you are none of us (any more)
};

struct FrameHeader {
  FrameType type = FrameType::core;
  std::uint64_t cluster = 0;
  Id from = 0;
  Id to = 0;
  std::string address;  // of the sender
};

struct Frame {
  FrameHeader header;
  std::string_view payload;  // within the bytes that were parsed
};

std::string make_frame(const FrameHeader& header, std::string_view payload);
// bad_request: garbage, damage, or a version that this skiff does not know.
Result<Frame> parse_frame(std::string_view bytes);

struct CoreMessage {
  skiff_message fields{};  // without pointers
  std::vector<Entry> entries;
};
std::string encode_core(const skiff_message& message, std::span<const Entry> entries);
Result<CoreMessage> decode_core(std::string_view payload);

// Parts carry the header in the first of them (seq 0).
struct SnapshotPart {
  std::uint64_t transfer = 0;
  std::uint64_t seq = 0;
  bool last = false;
  Term term = 0;  // of the leader
  SnapshotMark mark;
  store::Recovered at;
  std::string_view records;  // encoded; may be empty
};
std::string encode_part(const SnapshotPart& part);
Result<SnapshotPart> decode_part(std::string_view payload);

}  // namespace skiff::raft
