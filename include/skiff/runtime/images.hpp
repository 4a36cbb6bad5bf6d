// Images: a content-addressed store on disk, filled by importing archives and by pulling.
//
// DATA_DIR/images/
//   index.json      images, their names and layers; replaced whole by rename(2): the only thing
//   that
//                   makes an image visible, so a torn import or pull leaves nothing behind but
//                   garbage that open() sweeps
//   blobs/sha256/   manifests and configurations as they came (small; layers are not kept packed)
//   layers/DIFFID/  unpacked layers, ready to be overlayfs lowerdirs
//   ingest/         downloads under way (resumed by digest) and layers being unpacked
//
// Threading: everything belongs to the loop; hashing, unpacking and file work run in env.blocking.
//
// Errors of pull() carry the causes kubelets report under ErrImagePull, worded as upstream words
// them: "not found", "unauthorized"/"pull access denied", "connection refused", "no such host".
// Codes: not_found, unauthorized, unavailable, invalid (bad reference or damaged image).
//
// Sources: OCI image-spec v1.1 (layout, layer whiteouts, config), OCI distribution-spec v1.1, the
// docker reference grammar (distribution/reference), the docker save archive layout.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skiff/base/env.hpp"
#include "skiff/base/result.hpp"

namespace skiff::api {
class Value;
}

namespace skiff::runtime {

// "host[:port]/path/name:tag@sha256:...". A name whose first component has no dot and no colon and
// is not "localhost" has no host: `registry` is empty.
struct ImageReference {
  std::string registry;    // "localhost:5000", or "" for a short name
  std::string repository;  // "library/busybox"
  std::string tag;         // "latest" when neither tag nor digest was given
  std::string digest;      // "sha256:<64 hex>", or ""

  // Code::invalid, worded `couldn't parse image reference "X": ...` as upstream does.
  static Result<ImageReference> parse(std::string_view text);
  std::string name() const;       // registry/repository
  std::string to_string() const;  // name:tag or name@digest (digest wins)
};

// The part of an image's configuration that decides how a container starts.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> env;  // "NAME=value"
  std::string working_dir;
  std::string user;  // "", "uid", "uid:gid", "name", "name:group"
  std::string stop_signal;
  std::vector<std::string> exposed_ports;  // "8080/tcp"
  std::vector<std::string> volumes;
  std::map<std::string, std::string> labels;
};

struct Image {
  std::string id;                    // "sha256:..." of the configuration
  std::vector<std::string> tags;     // "localhost:5000/web:1", short names as "busybox:latest"
  std::vector<std::string> digests;  // "localhost:5000/web@sha256:..."
  std::uint64_t size = 0;            // bytes on disk of its layers
  ImageConfig config;
  std::vector<std::string> layers;  // directories, lowest first
  bool pinned = false;              // built in: cannot be removed
};

// {"id", "tags", "digests", "size", "pinned"}: what `skiff image ls` and the node API speak.
api::Value to_value(const Image& image);

// Limits against hostile archives (zip bombs and the like).
struct UnpackLimits {
  std::uint64_t layer_bytes = 16ULL << 30;  // unpacked
  std::uint64_t layer_entries = 2'000'000;
  std::uint64_t ratio = 1000;               // unpacked to packed, once past 64 MiB
  std::uint64_t document_bytes = 8U << 20;  // a manifest or configuration
  std::uint64_t path_bytes = 4096;
};

struct RegistrySettings {
  bool plain_http = false;  // loopback hosts always try plain HTTP as well
  bool skip_tls_verify = false;
  std::string ca_file;  // PEM; trusted instead of the system's CAs
};

struct ImageOptions {
  std::string root;  // DATA_DIR/images
  // For short names; "" (the default): they must be present locally. Names of one component are
  // looked for under "library/", as the reference grammar has it.
  std::string default_registry;
  std::map<std::string, RegistrySettings> registries;  // by "host[:port]"
  std::string architecture;                            // GOARCH; "" is this machine's
  UnpackLimits limits;
  std::size_t parallel_layers = 3;
};

// Credentials for one registry (or one repository under it).
struct RegistryAuth {
  std::string username;
  std::string password;
  std::string identity_token;  // OAuth2 refresh token
};

// Credentials by registry, as pull secrets hold them.
class Keyring {
 public:
  // .dockerconfigjson: {"auths": {"host": {"auth": base64, ...}}}
  Result<void> add_docker_config_json(std::string_view json);
  // .dockercfg, the older form without "auths".
  Result<void> add_docker_cfg(std::string_view json);
  void add(std::string registry, RegistryAuth auth);
  // Those that match `registry/repository`, the most specific first.
  std::vector<RegistryAuth> find(const ImageReference& ref) const;
  bool empty() const noexcept { return entries_.empty(); }
  std::string fingerprint() const;  // distinguishes keyrings; reveals nothing

 private:
  std::multimap<std::string, RegistryAuth> entries_;  // "host[:port][/path]"
};

class ImageStore {
 public:
  ImageStore(Env env, ImageOptions options);
  ~ImageStore();
  ImageStore(const ImageStore&) = delete;
  ImageStore& operator=(const ImageStore&) = delete;

  // Reads the index and sweeps what a crash left (in the background). Once, before anything else.
  Task<Result<void>> open();
  // Cancels pulls under way and waits for them. Before destruction.
  Task<void> stop();

  // A one-file image made of `executable`, present at once and for ever: its layer directory (a
  // hard link, a reflink or a copy of the file, as /skiff) is made when first asked for. Before or
  // after open(); touches no disk.
  void register_builtin(std::string ref, std::string executable, ImageConfig config);

  // By name, "name@digest", image id or an unambiguous id prefix of at least 6 digits; not_found
  // when it is not here. A short name also finds a local image of that name from any registry's
  // "library/". Layer directories exist when this returns.
  Task<Result<Image>> resolve(std::string ref);
  Task<Result<std::vector<Image>>> list();

  // Fetches `ref` from its registry, even when a local image has that name. Pulls of the same
  // reference with the same credentials that overlap are one pull.
  Task<Result<Image>> pull(std::string ref, Keyring keyring = {});

  // A docker-archive (docker save) or OCI-layout archive: tar, plain or compressed (gzip, zstd,
  // xz, bzip2). `path` "-" is standard input. `name`, when given, names the (only) image instead of
  // what the archive says.
  Task<Result<std::vector<Image>>> import_archive(std::string path, std::string name = "");
  // The same from a descriptor, which stays open.
  Task<Result<std::vector<Image>>> import_archive(int fd, std::string name = "");

  Task<Result<void>> tag(std::string ref, std::string new_name);
  // Takes the name away; the last name (or an id) removes the image and layers nobody else has.
  // Code::conflict while `in_use` says a container uses it.
  Task<Result<void>> remove(std::string ref);
  void set_in_use(std::function<bool(const std::string& image_id)> in_use);

  // Bytes used by unpacked layers (the kubelet's image file system figure).
  std::uint64_t used_bytes() const noexcept;

  struct State;  // private to the room

 private:
  std::shared_ptr<State> state_;
};

}  // namespace skiff::runtime
