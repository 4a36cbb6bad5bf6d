// etcd's answers and the envelopes in them: whatever they hold is an error at worst.
#include "codec.hpp"
#include "fuzz.hpp"

using namespace skiff;
using namespace skiff::etcd;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto envelope = decode(text)) {
    const auto again = decode(encode(*envelope));
    SKIFF_ASSERT(again.has_value(), "what was read can be written and read");
    SKIFF_ASSERT(encode(*again) == encode(*envelope), "an envelope reads back the same");
  }
  Codec codec("/skiff", nullptr);
  KeyValue kv;
  kv.key = codec.keys.object("/a");
  kv.value = text;
  kv.modified = 9;
  (void)codec.record(kv);
  (void)codec.erased(kv);
  if (const auto answer = parse_answer(text)) {
    (void)read_range(*answer);
    (void)read_txn(*answer);
  }
  for (const int status : {400, 503}) {
    SKIFF_ASSERT(!refusal_of(status, text).error.message.empty(), "a refusal says something");
  }
  if (const auto watch = read_watch(text)) {
    Folder folder(codec);
    const auto folded = folder.feed(*watch);
    if (!folded) return 0;
    store::Revision last = 0;
    for (const store::Record& record : folded->records) {
      SKIFF_ASSERT(record.item->modified > last, "revisions grow");
      last = record.item->modified;
    }
  }
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static constexpr std::string_view kSeeds[] = {
      R"({"header":{"cluster_id":"9","revision":"12"},"kvs":[{"key":"L3NraWZmL29iamVjdHMvYQ==",
          "create_revision":"2","mod_revision":"3","value":"dg=="}],"more":true,"count":"1"})",
      R"({"header":{"revision":"5"},"succeeded":true,"responses":[{"response_put":{}},
          {"response_range":{"kvs":[]}}]})",
      R"({"result":{"header":{"revision":"7"},"events":[
          {"kv":{"key":"L3NraWZmL25ld2VzdA==","mod_revision":"7"}},
          {"type":"DELETE","kv":{"key":"L3NraWZmL29iamVjdHMvYQ==","mod_revision":"7"}}]}})",
      R"({"result":{"canceled":true,"compact_revision":"30","fragment":true,"created":true}})",
      R"({"error":{"grpc_code":14,"http_code":503,"message":"no leader"}})",
      R"({"error":"etcdserver: request is too large","code":3})",
      std::string_view("\xE7\x01\x01\x01\0\0\0\0\0\0\0\x02\x02\x01\x02/a\0\0v", 20),
      std::string_view("\xE7\x01\x0a\x11\0\0\0\0\0\0\0\x02\x02\x05alice\x01\x01\x01k\x01vrv=", 28),
  };
  return kSeeds;
}
