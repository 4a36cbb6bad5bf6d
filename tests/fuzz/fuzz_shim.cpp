// What crosses the shim's socket, and the files a restarted skiff reads about its pods.
#include "cri/codec.hpp"
#include "fuzz.hpp"
#include "protocol.hpp"
#include "steps.hpp"

using namespace skiff;
using namespace skiff::runtime;
using namespace std::string_view_literals;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  protocol::Message m;
  std::size_t used = 0;
  std::size_t at = 0;
  while (protocol::parse(bytes.substr(at), m, used) == protocol::Parse::message) {
    SKIFF_ASSERT(used >= protocol::header_size && used <= size - at, "a frame is within the input");
    (void)m.text(protocol::Tag::container);
    (void)m.number(protocol::Tag::pid);
    (void)m.has(protocol::Tag::steps);
    at += used;
  }
  StepFields fields(bytes);
  for (int i = 0; i < 8 && fields.ok(); ++i) {
    const std::string_view text = fields.view();
    SKIFF_ASSERT(text.data()[text.size()] == '\0', "texts end with NUL");
    (void)fields.number();
  }
  const auto v = api::parse_json(bytes);
  if (!v) return 0;
  // Once read and written, a configuration stays the same.
  const api::Value sandbox = to_value(sandbox_config(*v));
  SKIFF_ASSERT(to_value(sandbox_config(sandbox)) == sandbox, "a sandbox reads back the same");
  const api::Value container = to_value(container_config(*v));
  SKIFF_ASSERT(to_value(container_config(container)) == container, "a container reads back");
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  static const std::string frames =
      protocol::Frame(protocol::Type::start, 7, 1)
          .put(protocol::Tag::container, "abc")
          .put(protocol::Tag::pid, 12)
          .put(protocol::Tag::steps,
               StepWriter().begin(Step::mount).text("a").text("b").number(3).finish())
          .finish() +
      protocol::Frame(protocol::Type::ok, 8).finish();
  static const std::string steps = StepWriter().begin(Step::exec).number(1).text("/x").finish();
  static const std::string_view kSeeds[] = {
      frames,
      steps,
      "\x10\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x02\0\xff\xff"sv,
      R"({"name":"web","namespace":"default","uid":"u","hostname":"h","labels":{"a":"b"},)"
      R"("portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"TCP"}],"sysctls":{"a":"1"}})",
      R"({"name":"c","image":"i","command":["a"],"args":["b"],"env":[{"name":"A","value":"b"}],)"
      R"("mounts":[{"source":"/a","target":"/b","readOnly":true}],"resources":{"cpuShares":2}})",
  };
  return kSeeds;
}
