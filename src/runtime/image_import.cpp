// Importing archives from files and pipes.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "image_archive.hpp"
#include "image_state.hpp"
#include "skiff/base/log.hpp"

namespace skiff::runtime {
namespace {

// The archive's own words for "this is what it is called", as full tags.
Result<std::vector<std::string>> tags_of(const ArchivedImage& image, const std::string& name) {
  std::vector<std::string> tags;
  if (!name.empty()) {
    SKIFF_TRY(const auto ref, ImageReference::parse(name));
    if (!ref.digest.empty()) {
      return Error{Code::invalid, "an imported image's name can not have a digest"};
    }
    tags.push_back(ref.to_string());
    return tags;
  }
  for (const auto& tag : image.tags) {
    SKIFF_TRY(const auto ref, ImageReference::parse(tag));
    tags.push_back(ref.to_string());
  }
  return tags;
}

// Unpacks what is missing; entry names and diff ids run in parallel.
Result<std::vector<NewLayer>> unpack_missing(ImageArchive& archive, const ImageDisk& disk,
                                             const std::map<std::string, std::string>& wanted,
                                             const UnpackLimits& limits) {
  std::vector<std::string> names;
  for (const auto& [name, diff_id] : wanted) names.push_back(name);
  std::vector<NewLayer> layers;
  auto done = archive.read_layers(
      names, [&](const std::string& name, const ByteSource& source) -> Result<void> {
        auto layer = disk.unpack(source, wanted.at(name), "", limits);
        if (!layer) return annotate(layer.error(), name);
        layers.push_back(std::move(*layer));
        return {};
      });
  if (!done) return done.error();
  return layers;
}

// A descriptor of the archive's own that can be read twice; closed by the last owner.
struct OpenArchive {
  int fd = -1;
  std::optional<ImageArchive> archive;
  OpenArchive() = default;
  OpenArchive(const OpenArchive&) = delete;
  OpenArchive& operator=(const OpenArchive&) = delete;
  ~OpenArchive() {
    if (fd >= 0) ::close(fd);
  }
};

Result<std::shared_ptr<OpenArchive>> open_archive(int fd, const ImageDisk& disk,
                                                  const UnpackLimits& limits,
                                                  const std::string& architecture) {
  auto open = std::make_shared<OpenArchive>();
  if (::lseek(fd, 0, SEEK_CUR) < 0) {
    SKIFF_TRY(open->fd, disk.spool(fd));
  } else {
    open->fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (open->fd < 0) return errno_error(errno, "reading the archive");
  }
  SKIFF_TRY(auto archive, ImageArchive::open(open->fd, limits, architecture));
  open->archive.emplace(std::move(archive));
  return open;
}

}  // namespace

Task<Result<std::vector<Image>>> ImageStore::State::import_fd(int fd, std::string name) {
  const auto self = shared_from_this();
  if (!opened) co_return Error{Code::unavailable, "the image store is not open yet"};
  const std::string arch =
      options.architecture.empty() ? machine_architecture() : options.architecture;
  auto read = [fd, target = disk, limits = options.limits, arch] {
    return open_archive(fd, target, limits, arch);
  };
  auto open = co_await env.blocking->run(std::move(read));
  if (!open) co_return open.error();
  const auto& found = (*open)->archive->images();
  if (!name.empty() && found.size() != 1) {
    co_return Error{
        Code::invalid,
        fmt::format("the archive holds {} images: one name is not enough", found.size())};
  }
  std::vector<Arrival> arrivals;
  std::vector<std::string> all_layers;
  std::map<std::string, std::string> wanted;  // entry name to diff id
  for (const auto& image : found) {
    auto tags = tags_of(image, name);
    if (!tags) co_return tags.error();
    const auto& ids = image.parsed.diff_ids;
    if (ids.size() != image.layers.size()) {
      co_return Error{Code::invalid, fmt::format("damaged image: the archive lists {} layers, its "
                                                 "configuration {}",
                                                 image.layers.size(), ids.size())};
    }
    all_layers.insert(all_layers.end(), ids.begin(), ids.end());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!missing_layers({ids[i]}).empty()) wanted.emplace(image.layers[i], ids[i]);
    }
    arrivals.push_back({image.config, image.manifest, image.parsed, std::move(*tags), {}});
  }
  const Lease lease(self, all_layers);
  auto unpack = [archive = *open, target = disk, wanted, limits = options.limits] {
    return unpack_missing(*archive->archive, target, wanted, limits);
  };
  auto layers = co_await env.blocking->run(std::move(unpack));
  if (!layers) co_return layers.error();
  for (const auto& l : *layers) unpacked[l.diff_id] = l.size;
  std::vector<Image> images;
  for (auto& arrival : arrivals) {
    auto image = co_await admit(std::move(arrival));
    if (!image) co_return image.error();
    log::info("runtime", "imported image",
              {{"id", image->id}, {"tags", image->tags.empty() ? "" : image->tags.front()}});
    images.push_back(std::move(*image));
  }
  co_return images;
}

Task<Result<std::vector<Image>>> ImageStore::import_archive(std::string path, std::string name) {
  const auto state = state_;
  if (path == "-") {
    auto images = co_await state->import_fd(STDIN_FILENO, std::move(name));
    co_return std::move(images);
  }
  auto open = [path]() -> Result<int> {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno_error(errno, "reading " + path);
    return fd;
  };
  const auto fd = co_await state->env.blocking->run(std::move(open));
  if (!fd) co_return fd.error();
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  };
  const Closer closer{*fd};
  auto images = co_await state->import_fd(*fd, std::move(name));
  if (!images) co_return annotate(images.error(), path);
  co_return std::move(images);
}

Task<Result<std::vector<Image>>> ImageStore::import_archive(int fd, std::string name) {
  const auto state = state_;
  auto images = co_await state->import_fd(fd, std::move(name));
  co_return std::move(images);
}

}  // namespace skiff::runtime
