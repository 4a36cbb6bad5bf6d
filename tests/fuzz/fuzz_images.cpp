// What a registry, or the author of an image, may send: documents, references, challenges, layers
// and whole archives.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>

#include "fuzz.hpp"
#include "image_archive.hpp"
#include "image_documents.hpp"
#include "image_index.hpp"
#include "image_registry.hpp"

using namespace skiff;
using namespace skiff::runtime;

namespace {

UnpackLimits small_limits() {
  UnpackLimits limits;
  limits.layer_bytes = 1U << 20U;
  limits.layer_entries = 200;
  return limits;
}

void unpack(std::string_view text) {
  static const std::string root = [] {
    std::string name = "/tmp/skiff-fuzz-XXXXXX";
    SKIFF_ASSERT(::mkdtemp(name.data()) != nullptr, "a directory to unpack into");
    return name;
  }();
  struct Cleaner {
    ~Cleaner() { std::filesystem::remove_all(root); }
  };
  static const Cleaner cleaner;
  const std::string inside = root + "/layer";
  std::filesystem::create_directory(inside);
  bool given = false;
  const ByteSource source = [&]() -> Result<std::span<const char>> {
    if (std::exchange(given, true)) return std::span<const char>();
    return std::span<const char>(text.data(), text.size());
  };
  const auto unpacked = unpack_layer(source, inside, small_limits());
  if (!unpacked) SKIFF_ASSERT(!unpacked.error().message.empty(), "an error says what is wrong");
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    SKIFF_ASSERT(entry.path() == inside, "nothing leaves the layer's directory");
  }
  std::filesystem::remove_all(inside);
}

void import(std::string_view text) {
  const int fd = ::memfd_create("archive", MFD_CLOEXEC);
  SKIFF_ASSERT(fd >= 0 && ::write(fd, text.data(), text.size()) >= 0, "a file in memory");
  ::lseek(fd, 0, SEEK_SET);
  auto archive = ImageArchive::open(fd, small_limits(), "amd64");
  if (!archive) SKIFF_ASSERT(!archive.error().message.empty(), "an error says what is wrong");
  ::close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_config(text);
  (void)parse_saved(text);
  if (const auto manifest = parse_manifest(text)) {
    (void)choose_platform(manifest->manifests, "amd64");
  }
  if (const auto index = ImageIndex::parse(text)) {
    SKIFF_ASSERT(ImageIndex::parse(index->encode()).has_value(), "a written index is read again");
  }
  if (const auto challenge = parse_challenge(text)) (void)challenge->get("realm");
  if (const auto ref = ImageReference::parse(text)) {
    const auto again = ImageReference::parse(ref->to_string());
    SKIFF_ASSERT(again && again->to_string() == ref->to_string(),
                 "a reference reads back the same");
  }
  // Files are slow, and most inputs are no archives.
  if (size >= 512) {
    unpack(text);
    import(text);
  }
  return 0;
}

std::span<const std::string_view> fuzz_seeds() {
  // Three tar headers by hand: a file that climbs, a link and what goes through it.
  static const std::string tar = [] {
    const auto entry = [](std::string name, char type, std::string link, std::string body) {
      std::string h(512, '\0');
      const auto put = [&](std::size_t at, std::string_view s) { h.replace(at, s.size(), s); };
      put(0, name);
      put(100, "0000644");
      put(108, "0000000");
      put(116, "0000000");
      char length[16];
      std::snprintf(length, sizeof length, "%011zo", body.size());
      put(124, length);
      put(136, "00000000000");
      put(148, "        ");
      h[156] = type;
      put(157, link);
      put(257, std::string_view("ustar\0"
                                "00",
                                8));
      unsigned sum = 0;
      for (const char c : h) sum += static_cast<unsigned char>(c);
      char check[16];
      std::snprintf(check, sizeof check, "%06o", sum);
      put(148, std::string_view(check, 7));
      body.resize((body.size() + 511) / 512 * 512);
      return h + body;
    };
    return entry("../../etc/escape", '0', "", "x") + entry("link", '2', "/tmp", "") +
           entry("link/through", '0', "", "y") + entry("dir/.wh.gone", '0', "", "") +
           entry("manifest.json", '0', "",
                 R"([{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}])") +
           entry("c.json", '0', "", R"({"rootfs":{"diff_ids":["sha256:00"]}})") +
           std::string(1024, '\0');
  }();
  static const std::string_view kSeeds[] = {
      tar,
      R"({"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Entrypoint":["/x"],"Cmd":["y"],)"
      R"("User":"1:2","WorkingDir":"/w","ExposedPorts":{"80/tcp":{}},"StopSignal":"SIGINT"},)"
      R"("rootfs":{"type":"layers","diff_ids":["sha256:)"
      R"(e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}})",
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)"
      R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:)"
      R"(e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",)"
      R"("platform":{"architecture":"amd64","os":"linux"}}]})",
      R"([{"Config":"a.json","RepoTags":["busybox:latest"],"Layers":["b/layer.tar"]}])",
      R"(Bearer realm="http://a/token",service="r",scope="repository:x:pull,push", error=bad)",
      "localhost:5000/library/busybox:1.36@sha256:"
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      R"({"images":[{"id":"sha256:aa","tags":["a:1"],"layers":["bb"]}],"layers":{"bb":3}})",
  };
  return kSeeds;
}
