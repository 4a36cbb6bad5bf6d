#include "volumes.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <set>

#include "base64.hpp"
#include "skiff/api/quantity.hpp"

namespace skiff::kubelet {
namespace {

namespace fs = std::filesystem;
using client::resources::kConfigMaps;
using client::resources::kSecrets;
using client::resources::kServiceAccounts;

Error invalid(std::string message) { return {Code::invalid, std::move(message)}; }

std::int64_t fs_group_of(const Value& pod) {
  return pod["spec"]["securityContext"]["fsGroup"].as_int(-1);
}

// Which member of a volume says what it is.
std::string type_of(const Value& volume) {
  for (const auto& [name, value] : volume.members()) {
    if (name != "name" && value.is_object()) return std::string(name);
  }
  return "";
}

Result<void> make_directory(const std::string& path, int mode, std::int64_t group) {
  std::error_code ec;
  fs::create_directories(path, ec);
  if (ec) return errno_error(ec.value(), "mkdir " + path);
  if (group >= 0) {
    mode |= S_ISGID | 0070;
    if (::chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(group)) != 0) {
      return errno_error(errno, "chown " + path);
    }
  }
  if (::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0)
    return errno_error(errno, "chmod " + path);
  return {};
}

bool is_mount_point(const std::string& path) {
  struct stat self {};
  struct stat parent {};
  return ::lstat(path.c_str(), &self) == 0 && ::lstat((path + "/..").c_str(), &parent) == 0 &&
         self.st_dev != parent.st_dev;
}

Result<void> make_empty_dir(const std::string& path, const Value& source, std::int64_t group) {
  SKIFF_CHECK(make_directory(path, 0777, group));
  if (source["medium"].as_string() != "Memory" || is_mount_point(path)) return {};
  std::string options = "mode=0777";
  if (const auto limit = api::Quantity::parse(source["sizeLimit"].as_string_or("0"));
      limit && limit->value() > 0) {
    options += ",size=" + std::to_string(limit->value());
  }
  if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
    return errno_error(errno, "mount tmpfs on " + path);
  }
  return make_directory(path, 0777, group);
}

Result<void> check_host_path(const std::string& path, const std::string& type) {
  struct stat st {};
  const bool exists = ::stat(path.c_str(), &st) == 0;
  if (type.empty()) return {};
  if (type == "DirectoryOrCreate" && !exists) return make_directory(path, 0755, -1);
  if (type == "FileOrCreate" && !exists) {
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) return errno_error(errno, "create " + path);
    ::close(fd);
    return {};
  }
  const struct {
    const char* type;
    const char* what;
    mode_t format;
  } kinds[] = {{"Directory", "directory", S_IFDIR},
               {"DirectoryOrCreate", "directory", S_IFDIR},
               {"File", "file", S_IFREG},
               {"FileOrCreate", "file", S_IFREG},
               {"Socket", "socket file", S_IFSOCK},
               {"CharDevice", "character device", S_IFCHR},
               {"BlockDevice", "block device", S_IFBLK}};
  for (const auto& kind : kinds) {
    if (type == kind.type && (!exists || (st.st_mode & S_IFMT) != kind.format)) {
      return invalid("hostPath type check failed: " + path + " is not a " + kind.what);
    }
  }
  return {};
}

// The files of a pod are removed only after everything mounted below is gone.
Result<void> remove_tree(const std::string& path) {
  std::error_code ec;
  if (fs::is_directory(path + "/volumes", ec)) {
    for (const auto& type : fs::directory_iterator(path + "/volumes", ec)) {
      for (const auto& volume : fs::directory_iterator(type.path(), ec)) {
        if (is_mount_point(volume.path()) && ::umount2(volume.path().c_str(), MNT_DETACH) != 0) {
          return errno_error(errno, "unmount " + volume.path().string());
        }
      }
    }
  }
  fs::remove_all(path, ec);
  if (ec) return errno_error(ec.value(), "remove " + path);
  return {};
}

bool is_from_api(const std::string& type) {
  return type == "configMap" || type == "secret" || type == "downwardAPI" || type == "projected";
}

}  // namespace

Volumes::Volumes(Env env, client::Client& client, ObjectWatches& objects, std::string root,
                 std::string memory)
    : env_(env),
      client_(client),
      objects_(objects),
      root_(std::move(root)),
      memory_(memory.empty() ? root_ : std::move(memory)) {}

std::string Volumes::path_of(const Value& pod, const Value& volume) const {
  const std::string type = type_of(volume);
  if (type == "hostPath") return volume["hostPath"]["path"].as_string();
  const bool in_memory = type == "secret" || type == "projected" || type == "downwardAPI";
  return (in_memory ? memory_ : root_) + "/pods/" + pod["metadata"]["uid"].as_string() +
         "/volumes/" + type + "/" + volume["name"].as_string();
}

Task<Result<void>> Volumes::set_up(ObjectPtr pod, EnvironmentSources sources) {
  for (const Value& volume : (*pod)["spec"]["volumes"].items()) {
    Result<void> done = co_await set_up_one(pod, &volume, &sources);
    if (!done) {
      co_return annotate(done.error(), "MountVolume.SetUp failed for volume \"" +
                                           volume["name"].as_string() + "\" ");
    }
  }
  co_return Result<void>();
}

Task<Result<void>> Volumes::set_up_one(ObjectPtr pod, const Value* volume,
                                       EnvironmentSources* sources) {
  const std::string type = type_of(*volume);
  const std::string path = path_of(pod->root(), *volume);
  const std::int64_t group = fs_group_of(pod->root());
  const Value& source = (*volume)[type];
  if (type == "emptyDir" || type.empty()) {
    auto make = [path, group, source] { return make_empty_dir(path, source, group); };
    co_return co_await env_.blocking->run(std::move(make));
  }
  if (type == "hostPath") {
    auto check = [path, kind = source["type"].as_string()] { return check_host_path(path, kind); };
    co_return co_await env_.blocking->run(std::move(check));
  }
  if (!is_from_api(type)) {
    co_return invalid("volume type " + type + " is not supported by this node");
  }
  Files files;
  const int mode = static_cast<int>(source["defaultMode"].as_int(0644));
  if (type == "projected") {
    for (const Value& part : source["sources"].items()) {
      for (const auto& [name, value] : part.members()) {
        std::string part_type(name);
        SKIFF_CO_CHECK(co_await add_source(pod, part_type, &value, mode, sources, &files));
      }
    }
  } else {
    SKIFF_CO_CHECK(co_await add_source(pod, type, &source, mode, sources, &files));
  }
  std::map<std::string, std::pair<std::string, int>> plain;
  for (auto& [name, file] : files) plain[name] = {std::move(file.content), file.mode};
  auto write = [path, plain = std::move(plain), group] {
    return write_atomically(path, plain, group);
  };
  co_return co_await env_.blocking->run(std::move(write));
}

Task<Result<void>> Volumes::add_source(ObjectPtr pod, std::string type, const Value* source,
                                       int mode, EnvironmentSources* sources, Files* files) {
  if (type == "configMap" || type == "secret") {
    co_return co_await add_object(pod, type == "secret", source, mode, files);
  }
  if (type == "downwardAPI") {
    co_return add_downward(pod->root(), *source, mode, *sources, *files);
  }
  if (type == "serviceAccountToken") {
    co_return co_await add_token(pod, source, mode, files);
  }
  co_return invalid("projected source " + type + " is not supported by this node");
}

Task<Result<void>> Volumes::add_object(ObjectPtr pod, bool secret, const Value* source, int mode,
                                       Files* files) {
  const std::string& name =
      (*source)[secret && source->has("secretName") ? "secretName" : "name"].as_string();
  const client::Ref ref = (secret ? kSecrets : kConfigMaps).at(pod->ns(), name);
  objects_.use(pod->uid(), ref);
  Result<ObjectPtr> object = co_await objects_.get(ref);
  const bool optional = (*source)["optional"].as_bool();
  if (!object) {
    if (optional && object.error().code == Code::not_found) co_return Result<void>();
    co_return object.error();
  }
  Files all;
  for (const auto& [key, value] : (**object)["data"].members()) {
    all[std::string(key)] = {secret ? decode_base64(value.as_string()) : value.as_string(), mode};
  }
  for (const auto& [key, value] : (**object)["binaryData"].members()) {
    all[std::string(key)] = {decode_base64(value.as_string()), mode};
  }
  const Value& items = (*source)["items"];
  if (items.empty()) {
    for (auto& [key, file] : all) (*files)[key] = std::move(file);
    co_return Result<void>();
  }
  for (const Value& item : items.items()) {
    const auto it = all.find(item["key"].as_string());
    if (it == all.end()) {
      if (optional) continue;
      co_return invalid("references non-existent " + std::string(secret ? "secret" : "config") +
                        " key: " + item["key"].as_string());
    }
    (*files)[item["path"].as_string()] = {it->second.content,
                                          static_cast<int>(item["mode"].as_int(mode))};
  }
  co_return Result<void>();
}

Result<void> Volumes::add_downward(const Value& pod, const Value& source, int mode,
                                   const EnvironmentSources& sources, Files& files) {
  for (const Value& item : source["items"].items()) {
    const Value& field = item["fieldRef"];
    Result<std::string> text = field.is_object()
                                   ? downward_field(pod, field["fieldPath"].as_string(), sources)
                                   : downward_resource(pod, "", item["resourceFieldRef"], sources);
    if (!text) return text.error();
    files[item["path"].as_string()] = {std::move(*text),
                                       static_cast<int>(item["mode"].as_int(mode))};
  }
  return {};
}

// KEP-1205: a token bound to the pod, renewed when four fifths of its life are over.
Task<Result<void>> Volumes::add_token(ObjectPtr pod, const Value* source, int mode, Files* files) {
  const std::string& audience = (*source)["audience"].as_string();
  const std::string& path = (*source)["path"].as_string();
  const std::int64_t seconds = (*source)["expirationSeconds"].as_int(3600);
  Token& token = tokens_[pod->uid()][audience + "/" + path];
  if (token.token.empty() || token.renew_at <= env_.clock->now()) {
    Value bound = Value::object({{"kind", "Pod"}, {"apiVersion", "v1"}});
    bound.set("name", pod->name());
    bound.set("uid", pod->uid());
    Value request =
        Value::object({{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenRequest"}});
    Value& spec = request.member("spec");
    spec.set("audiences", audience.empty() ? Value::array() : Value::array({Value(audience)}));
    spec.set("expirationSeconds", seconds);
    spec.set("boundObjectRef", std::move(bound));
    const client::Ref ref =
        kServiceAccounts.at(pod->ns(), (*pod)["spec"]["serviceAccountName"].as_string())
            .sub("token");
    const TimePoint asked = env_.clock->now();
    Result<ObjectPtr> answer = co_await client_.create(ref, std::move(request));
    if (!answer) co_return annotate(answer.error(), "failed to fetch token");
    Token& fresh =
        tokens_[pod->uid()][audience + "/" + path];  // the map may have changed meanwhile
    fresh.token = (**answer)["status"]["token"].as_string();
    fresh.renew_at = asked + std::chrono::seconds(seconds) * 4 / 5;
    (*files)[path] = {fresh.token, mode};
    co_return Result<void>();
  }
  (*files)[path] = {token.token, mode};
  co_return Result<void>();
}

TimePoint Volumes::renewal(const std::string& uid) const {
  TimePoint soonest = TimePoint::max();
  const auto it = tokens_.find(uid);
  if (it == tokens_.end()) return soonest;
  for (const auto& [key, token] : it->second) soonest = std::min(soonest, token.renew_at);
  return soonest;
}

void Volumes::forget(const std::string& uid) {
  tokens_.erase(uid);
  objects_.release(uid);
}

Task<Result<void>> Volumes::tear_down(std::string uid) {
  forget(uid);
  auto remove = [path = pod_directory(uid), memory = memory_ + "/pods/" + uid]() -> Result<void> {
    SKIFF_CHECK(remove_tree(memory));
    return remove_tree(path);
  };
  co_return co_await env_.blocking->run(std::move(remove));
}

Task<std::vector<std::string>> Volumes::pods_on_disk() {
  auto list = [roots = std::array{root_, memory_}] {
    std::set<std::string> out;
    std::error_code ec;
    for (const std::string& root : roots) {
      for (const auto& entry : fs::directory_iterator(root + "/pods", ec)) {
        out.insert(entry.path().filename());
      }
    }
    return std::vector<std::string>(out.begin(), out.end());
  };
  co_return co_await env_.blocking->run(std::move(list));
}

Result<std::vector<runtime::Mount>> Volumes::mounts(const Value& pod, const Value& container,
                                                    const Environment& environment) const {
  std::vector<runtime::Mount> out;
  for (const Value& m : container["volumeMounts"].items()) {
    const Value* volume = find_named(pod["spec"]["volumes"], m["name"].as_string());
    if (volume == nullptr) return invalid("volume " + m["name"].as_string() + " not found");
    runtime::Mount mount;
    mount.container_path = m["mountPath"].as_string();
    if (mount.container_path.rfind('/', 0) != 0) mount.container_path.insert(0, "/");
    mount.host_path = path_of(pod, *volume);
    const std::string& with_variables = m["subPathExpr"].as_string();
    mount.sub_path =
        with_variables.empty() ? m["subPath"].as_string() : expand(with_variables, environment);
    // What the API fills may not be written from inside (as upstream since 1.9.6).
    mount.read_only = m["readOnly"].as_bool() || is_from_api(type_of(*volume));
    mount.recursive_read_only = m["recursiveReadOnly"].as_string_or("Disabled") != "Disabled";
    const std::string& propagation = m["mountPropagation"].as_string();
    if (propagation == "HostToContainer")
      mount.propagation = runtime::Propagation::host_to_container;
    if (propagation == "Bidirectional") mount.propagation = runtime::Propagation::bidirectional;
    out.push_back(std::move(mount));
  }
  return out;
}

}  // namespace skiff::kubelet
