#include "image_archive.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "image_digest.hpp"
#include "image_extract.hpp"

namespace skiff::runtime {

void ArchiveDeleter::operator()(archive* a) const noexcept { archive_read_free(a); }

void add_filters(archive* a) {
  archive_read_support_filter_none(a);
  archive_read_support_filter_gzip(a);
  archive_read_support_filter_zstd(a);
  archive_read_support_filter_xz(a);
  archive_read_support_filter_bzip2(a);
}

Error archive_error(archive* a, std::string_view what) {
  const char* text = archive_error_string(a);
  const int number = archive_errno(a);
  if (number == ENOSPC || number == EDQUOT) return errno_error(number, what);
  return {Code::invalid, fmt::format("{}: {}", what, text == nullptr ? "damaged archive" : text)};
}

std::string entry_name(archive_entry* entry) {
  if (const char* raw = archive_entry_pathname(entry); raw != nullptr) return raw;
  const char* utf8 = archive_entry_pathname_utf8(entry);
  return utf8 == nullptr ? "" : utf8;
}

const char* entry_hard_link(archive_entry* entry) {
  const char* raw = archive_entry_hardlink(entry);
  return raw != nullptr ? raw : archive_entry_hardlink_utf8(entry);
}

std::string entry_symlink(archive_entry* entry) {
  if (const char* raw = archive_entry_symlink(entry); raw != nullptr) return raw;
  const char* utf8 = archive_entry_symlink_utf8(entry);
  return utf8 == nullptr ? "" : utf8;
}

Utf8Locale::Utf8Locale()
    : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)), before_(nullptr) {
  if (locale_ != nullptr) before_ = ::uselocale(locale_);
}

Utf8Locale::~Utf8Locale() {
  if (locale_ == nullptr) return;
  ::uselocale(before_);
  ::freelocale(locale_);
}

namespace {

constexpr std::size_t kDocumentBytes = 64U << 20U;  // all of one archive's documents together
constexpr std::uint64_t kArchiveEntries = 100'000;

// A pass over the archive's entries.
class Pass {
 public:
  explicit Pass(int fd) : fd_(fd), reader_(archive_read_new()) {
    add_filters(reader_.get());
    archive_read_support_format_tar(reader_.get());
  }
  Result<void> open() {
    if (::lseek(fd_, 0, SEEK_SET) < 0) return errno_error(errno, "reading the archive");
    if (archive_read_open_fd(reader_.get(), fd_, 128U << 10U) != ARCHIVE_OK) return error();
    return {};
  }
  // Null at the end.
  Result<archive_entry*> next() {
    archive_entry* entry = nullptr;
    const int got = archive_read_next_header(reader_.get(), &entry);
    if (got == ARCHIVE_EOF) return static_cast<archive_entry*>(nullptr);
    if (got < ARCHIVE_WARN) return error();
    return entry;
  }
  Result<std::size_t> read(char* to, std::size_t size) {
    const la_ssize_t n = archive_read_data(reader_.get(), to, size);
    if (n < 0) return error();
    return static_cast<std::size_t>(n);
  }
  Error error() { return archive_error(reader_.get(), "not a readable image archive"); }

 private:
  int fd_;
  ArchiveReader reader_;
};

bool looks_like_json(std::string_view head) {
  const auto at = head.find_first_not_of(" \t\r\n");
  return at != std::string_view::npos && (head[at] == '{' || head[at] == '[');
}

// The target of a link, relative to where the link is.
std::string beside(const std::string& name, const std::string& target) {
  if (target.starts_with('/')) return clean_path(target).has_value() ? *clean_path(target) : "";
  const auto slash = name.rfind('/');
  const auto path = (slash == std::string::npos ? "" : name.substr(0, slash + 1)) + target;
  auto clean = clean_path(path);
  return clean ? *clean : "";
}

}  // namespace

Result<ImageArchive> ImageArchive::open(int fd, const UnpackLimits& limits,
                                        std::string architecture) {
  const Utf8Locale locale;
  ImageArchive archive(fd, limits);
  SKIFF_CHECK(archive.scan());
  SKIFF_CHECK(archive.interpret(architecture));
  return archive;
}

Result<void> ImageArchive::scan() {
  Pass pass(fd_);
  SKIFF_CHECK(pass.open());
  std::size_t total = 0;
  for (std::uint64_t count = 0;; ++count) {
    SKIFF_TRY(auto* const entry, pass.next());
    if (entry == nullptr) return {};
    if (count >= kArchiveEntries) {
      return Error{Code::too_large, "the archive has too many entries to be an image"};
    }
    const auto name = clean_path(entry_name(entry));
    if (!name || name->empty()) continue;
    if (const char* target = entry_hard_link(entry); target != nullptr) {
      if (auto clean = clean_path(target)) links_[*name] = *clean;
      continue;
    }
    if (archive_entry_filetype(entry) == AE_IFLNK) {
      links_[*name] = beside(*name, entry_symlink(entry));
      continue;
    }
    const auto size = archive_entry_size(entry);
    if (archive_entry_filetype(entry) != AE_IFREG || size <= 0 ||
        static_cast<std::uint64_t>(size) > limits_.document_bytes) {
      continue;
    }
    std::string text(static_cast<std::size_t>(size), '\0');
    std::size_t have = 0;
    while (have < text.size()) {
      SKIFF_TRY(const auto n, pass.read(text.data() + have, text.size() - have));
      if (n == 0) break;
      have += n;
      if (!looks_like_json(std::string_view(text).substr(0, std::min<std::size_t>(have, 64))))
        break;
    }
    if (have < text.size() || !looks_like_json(text)) continue;
    total += text.size();
    if (total > kDocumentBytes) {
      return Error{Code::too_large, "the archive has too many documents to be an image"};
    }
    documents_[*name] = std::move(text);
  }
}

std::string ImageArchive::real_name(std::string name) const {
  // Old docker archives link equal layers to each other.
  for (int hops = 0; hops < 32; ++hops) {
    const auto it = links_.find(name);
    if (it == links_.end()) break;
    name = it->second;
  }
  return name;
}

Result<std::string> ImageArchive::document(const std::string& name) const {
  const auto clean = clean_path(name);
  const auto it = clean ? documents_.find(real_name(*clean)) : documents_.end();
  if (it == documents_.end()) {
    return Error{
        Code::invalid,
        fmt::format("the archive is incomplete: it has no {} (or that is not JSON)", name)};
  }
  return it->second;
}

Result<void> ImageArchive::interpret(const std::string& architecture) {
  // Newer docker writes both; only manifest.json has all the names.
  if (const auto saved = document("manifest.json")) return interpret_saved(*saved);
  if (const auto index = document("index.json")) return interpret_layout(*index, architecture);
  return Error{Code::invalid,
               "not an image archive: it has neither manifest.json (docker save) nor index.json "
               "(OCI layout)"};
}

Result<void> ImageArchive::interpret_saved(const std::string& saved) {
  SKIFF_TRY(const auto entries, parse_saved(saved));
  for (const auto& entry : entries) {
    ArchivedImage image;
    SKIFF_TRY(image.config, document(entry.config));
    SKIFF_TRY(image.parsed, parse_config(image.config));
    for (const auto& layer : entry.layers) {
      SKIFF_TRY(const auto clean, clean_path(layer));
      image.layers.push_back(real_name(clean));
    }
    image.tags = entry.tags;
    images_.push_back(std::move(image));
  }
  return {};
}

Result<void> ImageArchive::interpret_layout(const std::string& index,
                                            const std::string& architecture) {
  SKIFF_TRY(const auto top, parse_manifest(index));
  for (const auto& d : top.manifests) {
    std::vector<std::string> tags;
    // ref.name is often a bare tag; a name worth having has more than that.
    if (!d.name.empty()) {
      tags.push_back(d.name);
    } else if (d.ref_name.find_first_of("/:") != std::string::npos) {
      tags.push_back(d.ref_name);
    }
    const bool other = !d.os.empty() && (d.os != "linux" || d.architecture != architecture);
    if (other && top.manifests.size() > 1) continue;
    SKIFF_CHECK(add_manifest(d, architecture, std::move(tags)));
  }
  if (images_.empty()) {
    return Error{Code::invalid, fmt::format("the archive has no image for linux/{}", architecture)};
  }
  return {};
}

Result<void> ImageArchive::add_manifest(const Descriptor& descriptor,
                                        const std::string& architecture,
                                        std::vector<std::string> tags) {
  const auto blob = [](const std::string& digest) {
    return "blobs/sha256/" + sha256_of_digest(digest);
  };
  SKIFF_TRY(auto text, document(blob(descriptor.digest)));
  SKIFF_TRY(auto manifest, parse_manifest(text));
  if (manifest.index) {
    const auto* chosen = choose_platform(manifest.manifests, architecture);
    if (chosen == nullptr) {
      return Error{Code::invalid,
                   fmt::format("the archive has no image for linux/{}", architecture)};
    }
    SKIFF_TRY(text, document(blob(chosen->digest)));
    SKIFF_TRY(manifest, parse_manifest(text));
    if (manifest.index) return Error{Code::invalid, "damaged image: an index of indexes"};
  }
  ArchivedImage image;
  SKIFF_TRY(image.config, document(blob(manifest.config.digest)));
  if ("sha256:" + sha256_hex(image.config) != manifest.config.digest) {
    return Error{Code::invalid, "damaged image: its configuration does not match its digest"};
  }
  SKIFF_TRY(image.parsed, parse_config(image.config));
  image.manifest = std::move(text);
  image.tags = std::move(tags);
  for (const auto& l : manifest.layers) image.layers.push_back(real_name(blob(l.digest)));
  images_.push_back(std::move(image));
  return {};
}

Result<void> ImageArchive::read_layers(
    const std::vector<std::string>& names,
    const std::function<Result<void>(const std::string&, const ByteSource&)>& layer) {
  const Utf8Locale locale;
  std::set<std::string> wanted(names.begin(), names.end());
  Pass pass(fd_);
  SKIFF_CHECK(pass.open());
  std::vector<char> buffer(256U << 10U);
  const ByteSource source = [&]() -> Result<std::span<const char>> {
    SKIFF_TRY(const auto n, pass.read(buffer.data(), buffer.size()));
    return std::span<const char>(buffer.data(), n);
  };
  while (!wanted.empty()) {
    SKIFF_TRY(auto* const entry, pass.next());
    if (entry == nullptr) break;
    if (archive_entry_filetype(entry) != AE_IFREG || entry_hard_link(entry) != nullptr) continue;
    const auto name = clean_path(entry_name(entry));
    if (!name || wanted.erase(*name) == 0) continue;
    SKIFF_CHECK(layer(*name, source));
  }
  if (wanted.empty()) return {};
  return Error{Code::invalid,
               fmt::format("the archive is incomplete: it has no {}", *wanted.begin())};
}

}  // namespace skiff::runtime
