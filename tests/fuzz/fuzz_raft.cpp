// What arrives from other servers, and what is read from disk: frames, posts, entries, servers.
#include "frames.hpp"
#include "fuzz.hpp"
#include "posts.hpp"
#include "segments.hpp"

using namespace skiff;
using namespace skiff::raft;

namespace {

// Checksums would keep the mutations out: what they guard is read directly too.
void payloads(std::string_view bytes) {
  if (auto message = decode_core(bytes)) {
    skiff_message fields = message->fields;
    const std::string again = encode_core(fields, message->entries);
    const auto back = decode_core(again);
    SKIFF_ASSERT(back.has_value(), "what was read can be written and read again");
    SKIFF_ASSERT(back->entries.size() == message->entries.size(), "with all entries");
  }
  if (const auto part = decode_part(bytes)) {
    const std::string again = encode_part(*part);
    const auto back = decode_part(again);
    SKIFF_ASSERT(back && back->records == part->records, "a part reads back the same");
  }
  if (const auto servers = decode_servers(bytes)) {
    SKIFF_ASSERT(*decode_servers(encode_servers(*servers)) == *servers, "servers read back");
  }
  WireReader ops_in(bytes);
  if (const auto ops = get_ops(ops_in)) {
    for (const store::Op& op : *ops) {
      SKIFF_ASSERT(op.revision_slot == store::kNoSlot || op.revision_slot <= op.value.size(),
                   "a revision is written into the value");
    }
  }
  WireReader verdicts_in(bytes);
  Verdicts verdicts;
  (void)get_verdicts(verdicts_in, verdicts);
  if (auto batch = decode_batch(bytes)) {
    Entries::Loaded loaded;
    (void)apply_batch(loaded, std::move(*batch));
    SKIFF_ASSERT(loaded.first >= 1, "entries begin at 1");
  }
  std::string records(1, '\1');
  put_fixed64(records, checksum64(bytes));
  records += bytes;
  (void)decode_records(records, nullptr);
}

// The core, given whatever passes the checks, must not break: its own are compiled out.
void core(std::string_view bytes) {
  auto message = decode_core(bytes);
  if (!message) return;
  struct Free {
    void operator()(skiff_engine* e) const { skiff_engine_free(e); }
  };
  const std::unique_ptr<skiff_engine, Free> engine(skiff_engine_new(1, "https://a:1", 1, 450, 150));
  const std::string servers =
      encode_servers({{1, "https://a:1", Role::voter}, {2, "https://b:1", Role::voter}});
  skiff_start start{};
  start.term = 1;
  start.snapshot_index = 2;
  start.snapshot_term = 1;
  start.servers_index = 2;
  start.servers = servers.data();
  start.servers_size = servers.size();
  start.first = 3;
  skiff_update update;
  (void)skiff_engine_start(engine.get(), 1000, &start, &update);
  std::vector<skiff_entry> entries;
  for (const Entry& e : message->entries) {
    entries.push_back({e.term, static_cast<std::uint8_t>(e.kind), e.data->data(), e.data->size()});
  }
  skiff_message& m = message->fields;
  m.peer = 2;
  m.address = "https://b:1";
  m.n_entries = static_cast<std::uint32_t>(entries.size());
  m.entries = entries.data();
  for (std::uint64_t now = 1000; now < 4000; now += 500) {
    if (skiff_engine_receive(engine.get(), now, &m, &update) == 0 && update.n_entries > 0) {
      const std::uint64_t last = update.first + update.n_entries - 1;
      (void)skiff_engine_persisted(engine.get(), now, last, &update);
    }
    (void)skiff_engine_timeout(engine.get(), now, &update);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto frame = parse_frame(bytes)) {
    SKIFF_ASSERT(frame->payload.size() < bytes.size(), "a payload is within its frame");
    payloads(frame->payload);
  }
  if (const auto post = decode_post(bytes)) {
    for (const std::string_view frame : post->frames) (void)parse_frame(frame);
  }
  payloads(bytes);
  core(bytes);
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static const auto entry = [](Term term, Entry::Kind kind, std::string bytes) {
    Entry e;
    e.term = term;
    e.kind = kind;
    e.data = std::make_shared<const std::string>(std::move(bytes));
    return e;
  };
  static const std::string servers =
      encode_servers({{1, "https://a:1", Role::voter}, {2, "https://b:1", Role::standby}});
  static const std::string append = [] {
    skiff_message m{};
    m.type = SKIFF_APPEND;
    m.term = 2;
    m.index = 2;
    m.log_term = 1;
    m.commit = 3;
    const std::vector<Entry> entries{entry(2, Entry::Kind::servers, servers),
                                     entry(2, Entry::Kind::records, "abc")};
    return encode_core(m, entries);
  }();
  static const std::string vote = [] {
    skiff_message m{};
    m.type = SKIFF_VOTE;
    m.version = 2;
    m.term = 3;
    m.index = 5;
    m.log_term = 2;
    m.pre_vote = true;
    return encode_core(m, {});
  }();
  static const std::string frame = [] {
    FrameHeader header;
    header.from = 1;
    header.to = 2;
    header.cluster = 3;
    header.address = "https://a:1";
    return make_frame(header, vote);
  }();
  static const std::string post = encode_frames({frame, frame});
  static const std::string batch = [] {
    Entries::Batch b;
    b.state = HardState{1, 2, 3, 4};
    b.first = 1;
    b.entries = {entry(1, Entry::Kind::records, "abc")};
    return encode_batch(b);
  }();
  static const std::string_view kSeeds[] = {servers, append, vote, frame, post, batch};
  return kSeeds;
}
