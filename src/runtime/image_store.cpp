#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "image_digest.hpp"
#include "image_state.hpp"
#include "skiff/base/log.hpp"

namespace skiff::runtime {

ImageStore::State::State(Env e, ImageOptions o)
    : env(e), options(std::move(o)), disk(options.root), group(e.executor), changed(e.executor) {}

ImageStore::State::Lease::Lease(std::shared_ptr<State> state, std::vector<std::string> layers)
    : state_(std::move(state)), layers_(std::move(layers)) {
  for (const auto& l : layers_) ++state_->leases[l];
}

ImageStore::State::Lease::~Lease() {
  for (const auto& l : layers_) {
    const auto it = state_->leases.find(l);
    if (--it->second == 0) state_->leases.erase(it);
  }
}

std::vector<std::string> ImageStore::State::missing_layers(
    const std::vector<std::string>& diff_ids) const {
  std::vector<std::string> missing;
  for (const auto& id : diff_ids) {
    if (!index.layers.contains(id) && !unpacked.contains(id)) missing.push_back(id);
  }
  return missing;
}

Image ImageStore::State::view(const ImageRecord& record) const {
  Image image;
  image.id = record.id;
  image.tags.assign(record.tags.begin(), record.tags.end());
  image.digests.assign(record.digests.begin(), record.digests.end());
  image.config = record.config;
  for (const auto& id : record.layers) {
    image.layers.push_back(disk.layer_path(id));
    const auto it = index.layers.find(id);
    if (it != index.layers.end()) image.size += it->second;
  }
  return image;
}

Task<Result<void>> ImageStore::State::change(Edit edit) {
  const auto self = shared_from_this();
  if (!opened) co_return Error{Code::unavailable, "the image store is not open yet"};
  while (changing) co_await changed.wait();
  ImageIndex edited = index;
  auto allowed = edit(edited);
  if (!allowed) co_return allowed.error();
  struct Turn {
    State& state;
    explicit Turn(State& s) : state(s) { s.changing = true; }
    ~Turn() {
      state.changing = false;
      state.changed.notify_all();
    }
  };
  const Turn turn(*this);
  auto write = [target = disk, json = edited.encode()] { return target.write_index(json); };
  auto written = co_await env.blocking->run(std::move(write));
  if (!written) co_return written.error();
  index = std::move(edited);
  co_return Result<void>{};
}

Task<Result<Image>> ImageStore::State::admit(Arrival arrival) {
  const auto self = shared_from_this();
  const std::string hex = sha256_hex(arrival.config);
  ImageRecord record;
  record.id = "sha256:" + hex;
  record.tags.insert(arrival.tags.begin(), arrival.tags.end());
  record.digests.insert(arrival.digests.begin(), arrival.digests.end());
  record.layers = arrival.parsed.diff_ids;
  record.config = arrival.parsed.config;
  if (!arrival.manifest.empty()) record.manifest = sha256_hex(arrival.manifest);
  auto write = [target = disk, config = std::move(arrival.config), hex,
                manifest = std::move(arrival.manifest)]() -> Result<void> {
    SKIFF_CHECK(target.write_blob(hex, config));
    if (!manifest.empty()) SKIFF_CHECK(target.write_blob(sha256_hex(manifest), manifest));
    // Before the index says so: the layers must be there after a power loss.
    return target.sync();
  };
  auto written = co_await env.blocking->run(std::move(write));
  if (!written) co_return written.error();
  const std::string id = record.id;
  Edit edit = [self, record = std::move(record)](ImageIndex& i) -> Result<void> {
    for (const auto& l : record.layers) {
      if (i.layers.contains(l)) continue;
      const auto it = self->unpacked.find(l);
      if (it == self->unpacked.end()) {
        return Error{Code::internal, fmt::format("layer sha256:{} was lost on the way", l)};
      }
      i.layers[l] = it->second;
    }
    i.add(record);
    return {};
  };
  auto admitted = co_await change(std::move(edit));
  if (!admitted) co_return admitted.error();
  for (const auto& l : index.images.at(id).layers) unpacked.erase(l);
  co_return view(index.images.at(id));
}

Task<void> ImageStore::State::collect() {
  const auto self = shared_from_this();
  std::vector<std::string> dropped;
  Edit edit = [this, &dropped](ImageIndex& i) -> Result<void> {
    std::set<std::string> leased;
    for (const auto& [id, count] : leases) leased.insert(id);
    dropped = i.drop_unused_layers(leased);
    return {};
  };
  auto done = co_await change(std::move(edit));
  if (!done) co_return;
  // Somebody may have come to count on one of them while the index was written.
  std::erase_if(dropped, [this](const auto& id) { return leases.contains(id); });
  for (auto it = unpacked.begin(); it != unpacked.end();) {
    const bool kept = leases.contains(it->first);
    if (!kept) dropped.push_back(it->first);
    it = kept ? std::next(it) : unpacked.erase(it);
  }
  auto remove = [target = disk, dropped] {
    for (const auto& id : dropped) target.remove_layer(id);
    return true;
  };
  co_await env.blocking->run(std::move(remove));
}

const std::string* ImageStore::State::builtin_tag(const std::string& ref) const {
  const auto wanted = ImageReference::parse(ref);
  if (!wanted) {
    for (const auto& [tag, image] : ready_builtins) {
      if (image.id == ref) return &tag;
    }
    return nullptr;
  }
  const auto alias = index.builtin_names.find(wanted->to_string());
  for (const auto& [tag, builtin] : builtins) {
    const auto ready = ready_builtins.find(tag);
    if (alias != index.builtin_names.end() && alias->second == tag) return &tag;
    if (tag == wanted->to_string() || (ready != ready_builtins.end() && ready->second.id == ref)) {
      return &tag;
    }
  }
  return nullptr;
}

Task<Result<Image>> ImageStore::State::builtin_image(std::string tag) {
  const auto self = shared_from_this();
  if (const auto it = ready_builtins.find(tag); it != ready_builtins.end()) co_return it->second;
  const Builtin builtin = builtins.at(tag);
  struct Made {
    std::string hex, directory;
    std::uint64_t size = 0;
    std::vector<std::string> others;
  };
  auto make = [target = disk, builtin, tag]() -> Result<Made> {
    struct stat s {};
    if (::stat(builtin.executable.c_str(), &s) != 0) {
      return errno_error(errno, "reading " + builtin.executable);
    }
    // One identity per version of the binary; hashing all of it would cost more than it tells.
    const std::string identity = fmt::format("{} {} {} {} {}.{}", tag, s.st_dev, s.st_ino,
                                             s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    Made made{sha256_hex(identity), "", static_cast<std::uint64_t>(s.st_size), {}};
    SKIFF_TRY(made.directory, target.make_builtin(made.hex, builtin.executable));
    for (const auto& other : target.builtins()) {
      if (other != made.hex) made.others.push_back(other);
    }
    return made;
  };
  auto made = co_await env.blocking->run(std::move(make));
  if (!made) co_return annotate(made.error(), "the built-in image " + tag);
  Image image;
  image.id = "sha256:" + made->hex;
  image.tags = {tag};
  image.size = made->size;
  image.config = builtin.config;
  image.layers = {made->directory};
  image.pinned = true;
  ready_builtins[tag] = image;
  // Former versions of the binary: kept as long as a container runs one.
  std::vector<std::string> doomed;
  for (const auto& other : made->others) {
    const std::string id = "sha256:" + other;
    const bool ours = std::any_of(ready_builtins.begin(), ready_builtins.end(),
                                  [&](const auto& b) { return b.second.id == id; });
    if (in_use && !ours && builtins.size() == ready_builtins.size() && !in_use(id)) {
      doomed.push_back(disk.builtin_path(other));
    }
  }
  if (!doomed.empty()) {
    auto remove = [doomed] {
      for (const auto& path : doomed) remove_tree(path);
      return true;
    };
    co_await env.blocking->run(std::move(remove));
  }
  co_return image;
}

ImageStore::ImageStore(Env env, ImageOptions options)
    : state_(std::make_shared<State>(env, std::move(options))) {}

ImageStore::~ImageStore() = default;

Task<Result<void>> ImageStore::open() {
  const auto state = state_;
  struct Found {
    ImageIndex index;
    std::vector<std::string> strays;
  };
  // Downloads that broke off are kept for a day: the pull will come again.
  const auto day_ago =
      std::chrono::time_point_cast<std::chrono::seconds>(state->env.clock->wall() - 24h);
  auto read = [disk = state->disk, day_ago]() -> Result<Found> {
    SKIFF_TRY(const auto json, disk.open());
    Found found;
    if (!json.empty()) {
      auto index = ImageIndex::parse(json);
      if (!index)
        return annotate(index.error(),
                        "the image index is damaged; remove the images directory to start over");
      found.index = std::move(*index);
    }
    std::vector<std::string> layers, blobs;
    for (const auto& [id, size] : found.index.layers) layers.push_back(id);
    for (const auto& [id, record] : found.index.images) {
      blobs.push_back(sha256_of_digest(id));
      blobs.push_back(record.manifest);
      for (const auto& d : record.digests)
        blobs.push_back(sha256_of_digest(d.substr(d.find('@') + 1)));
    }
    found.strays = disk.strays(layers, blobs, day_ago.time_since_epoch().count());
    return found;
  };
  auto found = co_await state->env.blocking->run(std::move(read));
  if (!found) co_return found.error();
  state->index = std::move(found->index);
  state->opened = true;
  if (!found->strays.empty()) {
    auto sweep = [](std::shared_ptr<State> s, std::vector<std::string> strays) -> Task<void> {
      auto remove = [strays = std::move(strays)] {
        for (const auto& path : strays) remove_tree(path);
        return true;
      };
      co_await s->env.blocking->run(std::move(remove));
    };
    state->group.spawn("image sweep", sweep(state, std::move(found->strays)));
  }
  co_return Result<void>{};
}

Task<void> ImageStore::stop() {
  const auto state = state_;
  state->group.cancel();
  co_await state->group.join();
  state->clients.clear();
}

void ImageStore::register_builtin(std::string ref, std::string executable, ImageConfig config) {
  const auto parsed = ImageReference::parse(ref);
  SKIFF_ASSERT(parsed.has_value(), "a built-in image needs a valid name");
  state_->builtins[parsed->to_string()] = {std::move(executable), std::move(config)};
}

Task<Result<Image>> ImageStore::resolve(std::string ref) {
  const auto state = state_;
  if (const auto* builtin = state->builtin_tag(ref); builtin != nullptr) {
    const std::string tag = *builtin;
    auto image = co_await state->builtin_image(tag);
    co_return std::move(image);
  }
  const auto* record = state->index.find(ref, state->options.default_registry);
  if (record != nullptr) co_return state->view(*record);
  const auto parsed = ImageReference::parse(ref);
  if (!parsed) co_return parsed.error();
  co_return Error{Code::not_found, fmt::format("image \"{}\" is not present on this node", ref)};
}

Task<Result<std::vector<Image>>> ImageStore::list() {
  const auto state = state_;
  std::vector<Image> images;
  std::vector<std::string> tags;
  for (const auto& [tag, builtin] : state->builtins) tags.push_back(tag);
  for (const auto& tag : tags) {
    auto image = co_await state->builtin_image(tag);
    if (!image) co_return image.error();
    for (const auto& [name, target] : state->index.builtin_names) {
      if (target == tag) image->tags.push_back(name);
    }
    images.push_back(std::move(*image));
  }
  for (const auto& [id, record] : state->index.images) images.push_back(state->view(record));
  co_return images;
}

Task<Result<void>> ImageStore::tag(std::string ref, std::string new_name) {
  const auto state = state_;
  const auto name = ImageReference::parse(new_name);
  if (!name) co_return name.error();
  if (!name->digest.empty()) {
    co_return Error{Code::invalid, "a new name can not have a digest: digests follow from content"};
  }
  const std::string tag = name->to_string(), registry = state->options.default_registry;
  if (const auto* builtin = state->builtin_tag(ref); builtin != nullptr) {
    State::Edit add_name = [tag, target = *builtin](ImageIndex& i) -> Result<void> {
      i.tag("", tag);  // taken from whoever has it
      i.builtin_names[tag] = target;
      return {};
    };
    auto named = co_await state->change(std::move(add_name));
    co_return named;
  }
  State::Edit edit = [ref, tag, registry](ImageIndex& i) -> Result<void> {
    const auto* record = i.find(ref, registry);
    if (record == nullptr) {
      return Error{Code::not_found, fmt::format("image \"{}\" is not present on this node", ref)};
    }
    i.tag(std::string(record->id), tag);
    return {};
  };
  auto done = co_await state->change(std::move(edit));
  co_return done;
}

Task<Result<void>> ImageStore::remove(std::string ref) {
  const auto state = state_;
  if (const auto parsed = ImageReference::parse(ref);
      parsed && state->index.builtin_names.contains(parsed->to_string())) {
    State::Edit forget = [tag = parsed->to_string()](ImageIndex& i) -> Result<void> {
      i.builtin_names.erase(tag);
      return {};
    };
    auto forgotten = co_await state->change(std::move(forget));
    co_return forgotten;
  }
  if (state->builtin_tag(ref) != nullptr) {
    co_return Error{Code::conflict, fmt::format("image \"{}\" is built in and stays", ref)};
  }
  State::Edit edit = [state, ref](ImageIndex& i) -> Result<void> {
    const auto& registry = state->options.default_registry;
    const auto* found = i.find(ref, registry);
    if (found == nullptr) {
      return Error{Code::not_found, fmt::format("image \"{}\" is not present on this node", ref)};
    }
    const std::string id = found->id;
    if (const std::string tag = found->tag_for(ref, registry);
        !tag.empty() && found->tags.size() > 1) {
      i.images.at(id).tags.erase(tag);
      return {};
    }
    if (state->in_use && state->in_use(id)) {
      return Error{Code::conflict,
                   fmt::format("image \"{}\" is used by a container: remove that first", ref)};
    }
    i.images.erase(id);
    return {};
  };
  auto done = co_await state->change(std::move(edit));
  if (!done) co_return done.error();
  co_await state->collect();
  co_return Result<void>{};
}

void ImageStore::set_in_use(std::function<bool(const std::string& image_id)> in_use) {
  state_->in_use = std::move(in_use);
}

std::uint64_t ImageStore::used_bytes() const noexcept {
  std::uint64_t total = 0;
  for (const auto& [id, size] : state_->index.layers) total += size;
  return total;
}

}  // namespace skiff::runtime
