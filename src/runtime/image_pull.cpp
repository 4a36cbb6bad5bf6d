// Pulling: manifest, configuration, layers side by side; visible only when all is there.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "image_digest.hpp"
#include "image_state.hpp"
#include "skiff/base/log.hpp"

namespace skiff::runtime {
namespace {

constexpr int kAttempts = 4;
constexpr std::size_t kWriteBytes = 1U << 20U;

std::uint64_t size_of(const std::string& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
}

// Appends (or, from the start, writes anew).
Result<void> append(const std::string& path, const std::string& data, bool anew) {
  const int fd =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (anew ? O_TRUNC : O_APPEND), 0600);
  if (fd < 0) return errno_error(errno, "writing " + path);
  std::string_view rest = data;
  Result<void> result;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      result = errno_error(errno, "writing " + path);
      break;
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  ::close(fd);
  return result;
}

bool worth_retrying(const Error& e) {
  return e.code == Code::unavailable || e.code == Code::timeout ||
         e.code == Code::too_many_requests;
}

// One image's layers on their way, shared by the tasks that fetch them.
struct Fetch {
  explicit Fetch(Executor executor) : progress(std::move(executor)) {}
  std::shared_ptr<ImageStore::State> state;
  std::shared_ptr<Repository> repository;
  std::vector<std::pair<Descriptor, std::string>> wanted;  // and its diff id
  std::size_t next = 0;
  std::size_t running = 0;
  std::optional<Error> error;
  Signal progress;
};

// The body of one answer into the part file.
Task<Result<void>> receive(BlockingPool* blocking, std::unique_ptr<http::ResponseStream> stream,
                           std::string path, std::uint64_t have, std::uint64_t size) {
  bool anew = stream->status() == 200;
  if (anew) have = 0;
  bool ended = stream->status() == 416;
  while (!ended) {
    std::string data;
    std::optional<Error> broken;
    while (data.size() < kWriteBytes && !ended) {
      auto piece = co_await stream->read();
      if (!piece) {
        broken = piece.error();
        break;
      }
      ended = piece->empty();
      data += *piece;
    }
    have += data.size();
    if (size != 0 && have > size) {
      co_return Error{Code::invalid, fmt::format("the registry sent more than the {} bytes it "
                                                 "announced",
                                                 size)};
    }
    const bool first = std::exchange(anew, false);
    auto write = [path, data = std::move(data), first] { return append(path, data, first); };
    auto written = co_await blocking->run(std::move(write));
    if (!written) co_return written.error();
    // What came before the break is kept: the next attempt goes on from there.
    if (broken) co_return *broken;
  }
  co_return Result<void>{};
}

Task<Result<void>> download(std::shared_ptr<Fetch> fetch, Descriptor layer, std::string path) {
  auto& state = *fetch->state;
  Duration wait = 500ms;
  for (int attempt = 1;; ++attempt) {
    auto look = [path] { return size_of(path); };
    const std::uint64_t have = co_await state.env.blocking->run(std::move(look));
    if (layer.size != 0 && have == layer.size) co_return Result<void>{};
    const std::uint64_t offset = layer.size != 0 && have < layer.size ? have : 0;
    Result<void> done;
    auto stream = co_await fetch->repository->blob(layer.digest, offset);
    if (stream) {
      done = co_await receive(state.env.blocking, std::move(*stream), path, offset, layer.size);
    } else {
      done = stream.error();
    }
    if (done || attempt == kAttempts || !worth_retrying(done.error())) co_return done;
    log::debug("runtime", "layer download broke off, trying again",
               {{"digest", layer.digest}, {"error", done.error()}});
    co_await state.env.clock->sleep_for(wait);
    wait *= 2;
  }
}

Task<Result<NewLayer>> fetch_layer(std::shared_ptr<Fetch> fetch, Descriptor layer,
                                   std::string diff_id) {
  auto& state = *fetch->state;
  const std::string hex = sha256_of_digest(layer.digest);
  const std::string path = state.disk.part_path(hex);
  auto downloaded = co_await download(fetch, layer, path);
  if (!downloaded) co_return downloaded.error();
  auto unpack = [disk = state.disk, path, diff_id, hex, limits = state.options.limits] {
    auto unpacked = disk.unpack_file(path, diff_id, hex, limits);
    // Good or damaged: nobody needs the packed bytes again.
    ::unlink(path.c_str());
    return unpacked;
  };
  auto unpacked = co_await state.env.blocking->run(std::move(unpack));
  co_return unpacked;
}

Task<void> fetch_layers(std::shared_ptr<Fetch> fetch) {
  while (!fetch->error && fetch->next < fetch->wanted.size()) {
    const auto [layer, diff_id] = fetch->wanted[fetch->next++];
    auto got = co_await fetch_layer(fetch, layer, diff_id);
    if (got) {
      fetch->state->unpacked[got->diff_id] = got->size;
    } else if (!fetch->error) {
      fetch->error = annotate(got.error(), "layer " + layer.digest);
    }
  }
  --fetch->running;
  fetch->progress.notify_all();
}

}  // namespace

Result<std::unique_ptr<http::Client>> ImageStore::State::make_http(
    const RegistrySettings& settings) const {
  http::ClientOptions http;
  http.tls.insecure_skip_verify = settings.skip_tls_verify;
  if (!settings.ca_file.empty()) {
    std::ifstream file(settings.ca_file);
    http.tls.ca_pem.assign(std::istreambuf_iterator<char>(file), {});
    if (http.tls.ca_pem.empty()) {
      return Error{Code::invalid,
                   fmt::format("the registry's CA file {} can not be read", settings.ca_file)};
    }
  }
  return std::make_unique<http::Client>(env, std::move(http));
}

Task<Result<Image>> ImageStore::State::fetch(std::shared_ptr<Repository> repository,
                                             ImageReference ref) {
  const auto self = shared_from_this();
  const std::string what = ref.digest.empty() ? ref.tag : ref.digest;
  if (!ref.digest.empty() && sha256_of_digest(ref.digest).empty()) {
    co_return Error{Code::invalid, "images are known by sha256 digests only"};
  }
  auto manifest = co_await repository->manifest(what);
  if (!manifest) {
    co_return annotate(manifest.error(),
                       fmt::format("failed to resolve reference \"{}\"", ref.to_string()));
  }
  const std::string outer_digest = manifest->digest;
  auto parsed = parse_manifest(manifest->document);
  if (!parsed) co_return parsed.error();
  if (parsed->index) {
    const auto arch = options.architecture.empty() ? machine_architecture() : options.architecture;
    const auto* chosen = choose_platform(parsed->manifests, arch);
    if (chosen == nullptr) {
      co_return Error{Code::not_found,
                      fmt::format("no match for platform in manifest: not found (the image has "
                                  "nothing for linux/{})",
                                  arch)};
    }
    const std::string digest = chosen->digest;
    manifest = co_await repository->manifest(digest);
    if (!manifest) co_return manifest.error();
    parsed = parse_manifest(manifest->document);
    if (!parsed) co_return parsed.error();
  }
  Arrival arrival;
  auto config = co_await repository->document(parsed->config.digest);
  if (!config) co_return annotate(config.error(), "the image's configuration");
  auto config_document = parse_config(*config);
  if (!config_document) co_return config_document.error();
  if (config_document->diff_ids.size() != parsed->layers.size()) {
    co_return Error{Code::invalid,
                    fmt::format("damaged image: its manifest has {} layers, its "
                                "configuration {}",
                                parsed->layers.size(), config_document->diff_ids.size())};
  }
  const Lease lease(self, config_document->diff_ids);
  const auto work = std::make_shared<Fetch>(env.executor);
  work->state = self;
  work->repository = repository;
  std::set<std::string> missing;
  for (const auto& id : missing_layers(config_document->diff_ids)) missing.insert(id);
  for (std::size_t i = 0; i < parsed->layers.size(); ++i) {
    const auto& id = config_document->diff_ids[i];
    if (missing.erase(id) != 0) work->wanted.emplace_back(parsed->layers[i], id);
  }
  const std::size_t workers =
      std::min(work->wanted.size(), std::max<std::size_t>(1, options.parallel_layers));
  work->running = workers;
  for (std::size_t i = 0; i < workers; ++i) group.spawn("image layer", fetch_layers(work));
  while (work->running != 0) co_await work->progress.wait();
  if (work->error) co_return *work->error;

  arrival.config = std::move(*config);
  arrival.manifest = std::move(manifest->document);
  arrival.parsed = std::move(*config_document);
  if (!ref.tag.empty()) arrival.tags.push_back(ref.name() + ":" + ref.tag);
  arrival.digests.push_back(ref.name() + "@" + outer_digest);
  auto admitted = co_await admit(std::move(arrival));
  co_return std::move(admitted);
}

Task<Result<Image>> ImageStore::State::pull_now(std::string text, Keyring keyring) {
  auto ref = ImageReference::parse(text);
  if (!ref) co_return ref.error();
  if (ref->registry.empty()) {
    if (options.default_registry.empty()) {
      co_return Error{
          Code::not_found,
          fmt::format("failed to pull image \"{}\": not found: it is not present locally "
                      "and its name has no registry; import it (skiff image import), "
                      "write the registry's host before its name, or configure a "
                      "default registry",
                      text)};
    }
    ref->registry = options.default_registry;
    if (ref->repository.find('/') == std::string::npos) {
      ref->repository = "library/" + ref->repository;
    }
  }
  const auto configured = options.registries.find(ref->registry);
  const RegistrySettings settings =
      configured == options.registries.end() ? RegistrySettings{} : configured->second;
  auto& http = clients[ref->registry];
  if (!http) {
    auto made = make_http(settings);
    if (!made) co_return made.error();
    http = std::move(*made);
  }
  const auto repository =
      std::make_shared<Repository>(*http, *ref, keyring.find(*ref), settings,
                                   static_cast<std::size_t>(options.limits.document_bytes));
  const std::string full = ref->to_string();
  auto image = co_await fetch(repository, std::move(*ref));
  if (!image) {
    co_return annotate(image.error(), fmt::format("failed to pull and unpack image \"{}\"", full));
  }
  co_return std::move(image);
}

Task<void> ImageStore::State::run_pull(std::string key, std::string ref, Keyring keyring) {
  const auto self = shared_from_this();
  const auto pull = pulls.at(key);
  // However this ends, whoever waits hears of it.
  struct Ending {
    State& state;
    const std::string& key;
    Pull& pull;
    ~Ending() {
      if (!pull.result) pull.result = Error{Code::canceled, "the pull was cancelled"};
      state.pulls.erase(key);
      pull.done.notify_all();
    }
  };
  const Ending ending{*this, key, *pull};
  const auto begun = env.clock->now();
  auto result = co_await pull_now(ref, std::move(keyring));
  if (result) {
    const auto took = std::chrono::duration<double>(env.clock->now() - begun).count();
    log::info("runtime", "pulled image", {{"image", ref}, {"id", result->id}, {"seconds", took}});
  }
  pull->result = std::move(result);
}

Task<Result<Image>> ImageStore::pull(std::string ref, Keyring keyring) {
  const auto state = state_;
  if (const auto* builtin = state->builtin_tag(ref); builtin != nullptr) {
    const std::string tag = *builtin;
    auto image = co_await state->builtin_image(tag);
    co_return std::move(image);
  }
  const std::string key = ref + "\n" + keyring.fingerprint();
  const auto running = state->pulls.find(key);
  std::shared_ptr<State::Pull> pull;
  if (running != state->pulls.end()) {
    pull = running->second;
  } else {
    pull = std::make_shared<State::Pull>(state->env.executor);
    state->pulls.emplace(key, pull);
    // May end before spawn() returns, and then is off the list again.
    state->group.spawn("image pull", state->run_pull(key, ref, std::move(keyring)));
  }
  while (!pull->result) co_await pull->done.wait();
  co_return *pull->result;
}

}  // namespace skiff::runtime
