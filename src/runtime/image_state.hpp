// What the parts of ImageStore share. Belongs to the loop.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "image_disk.hpp"
#include "image_documents.hpp"
#include "image_index.hpp"
#include "image_registry.hpp"
#include "skiff/http/client.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::runtime {

// An image on its way in; its layers are in place.
struct Arrival {
  std::string config;    // the document; its digest is the image's id
  std::string manifest;  // the document, "" when there is none
  ConfigDocument parsed;
  std::vector<std::string> tags;
  std::vector<std::string> digests;
};

struct ImageStore::State : std::enable_shared_from_this<ImageStore::State> {
  State(Env e, ImageOptions o);

  struct Builtin {
    std::string executable;
    ImageConfig config;
  };
  // A pull under way, waited for by whoever asks for the same.
  struct Pull {
    explicit Pull(Executor executor) : done(std::move(executor)) {}
    std::optional<Result<Image>> result;
    Signal done;
  };
  // Layers an arriving image counts on: not removed meanwhile.
  class Lease {
   public:
    Lease(std::shared_ptr<State> state, std::vector<std::string> layers);
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease();

   private:
    std::shared_ptr<State> state_;
    std::vector<std::string> layers_;
  };

  // One change of the index at a time: changed copy to disk, then taken over.
  using Edit = std::function<Result<void>(ImageIndex&)>;
  Task<Result<void>> change(Edit edit);
  // Makes an arrived image visible. Its layers are in place.
  Task<Result<Image>> admit(Arrival arrival);
  // Removes layers (and documents) that no image has.
  Task<void> collect();
  Image view(const ImageRecord& record) const;
  Task<Result<Image>> builtin_image(std::string tag);
  const std::string* builtin_tag(const std::string& ref) const;
  std::vector<std::string> missing_layers(const std::vector<std::string>& diff_ids) const;

  Task<Result<std::vector<Image>>> import_fd(int fd, std::string name);
  Result<std::unique_ptr<http::Client>> make_http(const RegistrySettings& settings) const;
  Task<void> run_pull(std::string key, std::string ref, Keyring keyring);
  Task<Result<Image>> pull_now(std::string ref, Keyring keyring);
  Task<Result<Image>> fetch(std::shared_ptr<Repository> repository, ImageReference ref);

  Env env;
  ImageOptions options;
  ImageDisk disk;
  TaskGroup group;
  bool opened = false;
  ImageIndex index;
  std::map<std::string, std::uint64_t> unpacked;  // layers in place that the index lacks still
  bool changing = false;
  Signal changed;
  std::map<std::string, Builtin> builtins;                       // by full tag
  std::map<std::string, Image> ready_builtins;                   // made, by full tag
  std::map<std::string, std::shared_ptr<Pull>> pulls;            // by reference and keyring
  std::map<std::string, std::unique_ptr<http::Client>> clients;  // by registry
  std::map<std::string, int> leases;                             // by diff id
  std::function<bool(const std::string&)> in_use;
};

}  // namespace skiff::runtime
