#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "commands.hpp"
#include "options.hpp"
#include "skiff/api/value.hpp"
#include "skiff/cli/flags.hpp"
#include "skiff/client/http_client.hpp"
#include "skiff/runtime/images.hpp"

namespace skiff::app {
namespace {

constexpr const char* kUsage =
    "usage: skiff image import FILE|- [--name NAME]   load a docker or OCI archive\n"
    "       skiff image pull NAME                     fetch from its registry\n"
    "       skiff image ls                            list images\n"
    "       skiff image tag NAME NEW-NAME             give another name\n"
    "       skiff image rm NAME                       remove\n\nFlags:\n";

struct Arguments {
  std::string data_dir = default_data_dir();
  std::int64_t kubelet_port = 10250;
  std::string name;
  bool help = false;
  std::vector<std::string> words;
};

// The archive on standard input as a file: the server, another process, reads it by name.
class Spool {
 public:
  ~Spool() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Result<std::string> fill_from_stdin(const std::string& directory) {
    std::string path = directory + "/import-XXXXXX";
    const int fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd < 0) return errno_error(errno, "cannot make a file in " + directory);
    path_ = path;
    std::string buffer(1U << 20U, '\0');
    int error = 0;
    for (;;) {
      const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n <= 0) break;
      if (::write(fd, buffer.data(), static_cast<std::size_t>(n)) != n) error = errno;
    }
    ::close(fd);
    if (error != 0) return errno_error(error, "cannot write " + path);
    return path;
  }

 private:
  std::string path_;
};

std::string human(std::int64_t bytes) {
  if (bytes < 1'000'000) return fmt::format("{:.1f}kB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.1f}MB", static_cast<double>(bytes) / 1e6);
}

void print_images(const api::Value& list) {
  std::printf("%-50s %-14s %s\n", "NAME", "ID", "SIZE");
  for (const api::Value& image : list["items"].items()) {
    const std::string& id = image["id"].as_string();
    const std::string short_id = id.substr(id.find(':') + 1, 12);
    auto names = image["tags"].items();
    if (names.empty()) names = image["digests"].items();
    if (names.empty())
      std::printf("%-50s %-14s %s\n", "<none>", short_id.c_str(),
                  human(image["size"].as_int()).c_str());
    for (const api::Value& name : names) {
      std::printf("%-50s %-14s %s\n", name.as_string().c_str(), short_id.c_str(),
                  human(image["size"].as_int()).c_str());
    }
  }
}

// The node API's answer, or empty when no server runs here.
Task<Result<std::optional<api::Value>>> ask_server(Env env, Arguments args, http::Method method,
                                                   std::string path, http::Query query) {
  const std::string kubeconfig = args.data_dir + "/kubeconfig";
  std::error_code ec;
  if (!std::filesystem::exists(kubeconfig, ec)) co_return std::optional<api::Value>();
  SKIFF_CO_TRY(const auto access, co_await client::load_kubeconfig(env, kubeconfig, ""));
  http::ClientOptions options;
  options.tls = access.tls;
  http::Client http(env, std::move(options));
  http::ClientRequest request;
  request.method = method;
  request.url = "https://127.0.0.1:" + std::to_string(args.kubelet_port) + "/images" + path;
  if (!query.empty()) request.url += "?" + query.to_string();
  request.timeout = 1h;  // a large image takes its time
  const auto answer = co_await http.request(std::move(request));
  if (!answer) {
    const bool nobody = answer.error().message.find("refused") != std::string::npos;
    if (nobody) co_return std::optional<api::Value>();
    co_return answer.error();
  }
  if (answer->status != 200) {
    std::string text = answer->body;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    co_return Error{Code::internal, text};
  }
  SKIFF_CO_TRY(auto document, api::parse_json(answer->body));
  co_return std::optional<api::Value>(std::move(document));
}

api::Value describe(const std::vector<runtime::Image>& images) {
  api::Value items = api::Value::array();
  for (const runtime::Image& image : images) items.push_back(runtime::to_value(image));
  api::Value list = api::Value::object();
  list.set("items", std::move(items));
  return list;
}

// The same without a server.
Task<Result<api::Value>> work_alone(Env env, std::string data_dir, std::string verb,
                                    std::vector<std::string> words, std::string name) {
  runtime::ImageOptions options;
  options.root = data_dir + "/images";
  std::error_code ec;
  std::filesystem::create_directories(options.root, ec);
  runtime::ImageStore store(env, std::move(options));
  SKIFF_CO_CHECK(co_await store.open());
  Result<std::vector<runtime::Image>> images = std::vector<runtime::Image>();
  Result<void> done;
  if (verb == "import") {
    images = co_await store.import_archive(words[0], name);
  } else if (verb == "pull") {
    Result<runtime::Image> image = co_await store.pull(words[0], {});
    if (image) {
      images->push_back(std::move(*image));
    } else {
      images = image.error();
    }
  } else if (verb == "ls") {
    images = co_await store.list();
  } else if (verb == "tag") {
    done = co_await store.tag(words[0], words[1]);
  } else {
    done = co_await store.remove(words[0]);
  }
  co_await store.stop();
  if (!images) co_return images.error();
  if (!done) co_return done.error();
  co_return describe(*images);
}

Task<Result<api::Value>> carry_out(Env env, Arguments args) {
  const std::string verb = args.words[0];
  std::vector<std::string> words(args.words.begin() + 1, args.words.end());
  Spool spool;
  if (verb == "import") {
    if (words[0] == "-") {
      std::error_code ec;
      std::filesystem::create_directories(args.data_dir, ec);
      SKIFF_CO_TRY(words[0], spool.fill_from_stdin(args.data_dir));
    } else {
      words[0] = std::filesystem::absolute(words[0]);
      if (::access(words[0].c_str(), R_OK) != 0) {
        co_return errno_error(errno, "cannot read " + words[0]);
      }
    }
  }
  http::Query query;
  if (verb == "import") query.add("path", words[0]);
  if (!args.name.empty()) query.add("name", args.name);
  if (verb != "import" && !words.empty()) query.add("ref", words[0]);
  if (verb == "tag") query.add("to", words[1]);
  const http::Method method = verb == "ls" ? http::Method::get : http::Method::post;
  const std::string path = verb == "ls" ? "" : "/" + verb;
  SKIFF_CO_TRY(auto answer, co_await ask_server(env, args, method, path, query));
  if (answer) co_return std::move(*answer);
  co_return co_await work_alone(env, args.data_dir, verb, words, args.name);
}

Task<void> run(Env env, Arguments args, int* exit_code) {
  const Result<api::Value> result = co_await carry_out(env, args);
  const std::string& verb = args.words[0];
  if (!result) {
    std::fprintf(stderr, "skiff image %s: %s\n", verb.c_str(), result.error().message.c_str());
    *exit_code = 1;
    co_return;
  }
  if (verb == "ls") {
    print_images(*result);
    co_return;
  }
  for (const api::Value& image : (*result)["items"].items()) {
    const auto tags = image["tags"].items();
    std::printf("%s\n", (tags.empty() ? image["id"] : tags.front()).as_string().c_str());
  }
}

}  // namespace

int image_main(std::vector<std::string> args) {
  Arguments parsed;
  cli::Flags flags;
  flags.add("data-dir", &parsed.data_dir, "DIR", "the server's data directory", 'd');
  flags.add("kubelet-port", &parsed.kubelet_port, "PORT", "port of the node's API (default 10250)");
  flags.add("name", &parsed.name, "NAME", "import: name of the image, instead of the archive's");
  flags.add("help", &parsed.help, "", "show this", 'h');
  auto rest = flags.parse(args);
  if (!rest) {
    std::fprintf(stderr, "skiff image: %s\n", rest.error().message.c_str());
    return 1;
  }
  parsed.words = std::move(*rest);
  const std::map<std::string, std::size_t> wanted = {
      {"import", 2}, {"pull", 2}, {"ls", 1}, {"tag", 3}, {"rm", 2}};
  const auto it = parsed.words.empty() ? wanted.end() : wanted.find(parsed.words[0]);
  if (parsed.help || it == wanted.end() || it->second != parsed.words.size()) {
    std::fprintf(parsed.help ? stdout : stderr, "%s%s", kUsage, flags.help().c_str());
    return parsed.help ? 0 : 1;
  }
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking(2);
  asio::io_context io(1);
  const Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  int exit_code = 0;
  asio::co_spawn(io, run(env, std::move(parsed), &exit_code), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return exit_code;
}

}  // namespace skiff::app
