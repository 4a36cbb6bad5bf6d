#include "users.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "skiff/linux/system.hpp"

namespace skiff::runtime {
namespace {

struct PasswdEntry {
  std::string name;
  std::int64_t uid = -1;
  std::int64_t gid = -1;
  std::string home;
};

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (true) {
    auto end = text.find(separator);
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

template <class Match>
std::optional<PasswdEntry> find_passwd(std::string_view text, Match match) {
  for (auto line : split(text, '\n')) {
    auto f = split(line, ':');
    if (f.size() < 4 || line.starts_with('#')) continue;
    auto uid = number(f[2]);
    auto gid = number(f[3]);
    if (!uid || !gid) continue;
    PasswdEntry entry{std::string(f[0]), *uid, *gid, f.size() > 5 ? std::string(f[5]) : ""};
    if (match(entry)) return entry;
  }
  return std::nullopt;
}

// Calls `visit(name, gid, members)` for each group.
template <class Visit>
void each_group(std::string_view text, Visit visit) {
  for (auto line : split(text, '\n')) {
    auto f = split(line, ':');
    if (f.size() < 3 || line.starts_with('#')) continue;
    if (auto gid = number(f[2])) visit(f[0], *gid, f.size() > 3 ? f[3] : std::string_view());
  }
}

Result<std::int64_t> group_id(std::string_view name, std::string_view text) {
  std::optional<std::int64_t> found;
  each_group(text, [&](std::string_view group, std::int64_t gid, std::string_view) {
    if (group == name && !found) found = gid;
  });
  if (!found) found = number(name);
  if (found) return *found;
  return Error{Code::invalid,
               "unable to find group " + std::string(name) + ": no matching entries in group file"};
}

constexpr std::int64_t max_id = 0xfffffffe;

Result<void> check_range(const UserIds& ids) {
  if (ids.uid < 0 || ids.uid > max_id || ids.gid < 0 || ids.gid > max_id) {
    return Error{Code::invalid, "uids and gids must be in range 0-4294967294"};
  }
  for (auto g : ids.groups) {
    if (g < 0 || g > max_id) {
      return Error{Code::invalid, "supplemental groups must be in range 0-4294967294"};
    }
  }
  return {};
}

}  // namespace

std::string read_layered(const std::vector<std::string>& lower_dirs, const std::string& path) {
  auto& system = sys::real_system();
  for (auto layer = lower_dirs.rbegin(); layer != lower_dirs.rend(); ++layer) {
    int root = system.open_at(AT_FDCWD, layer->c_str(), O_PATH | O_DIRECTORY, 0, 0);
    if (root < 0) continue;
    int fd = system.open_at(root, path.c_str() + (path.starts_with('/') ? 1 : 0),
                            O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, RESOLVE_IN_ROOT);
    system.close(root);
    if (fd == -ENOENT || fd == -ENOTDIR) continue;
    if (fd < 0) return {};  // among others a whiteout: opening device 0:0 fails
    struct stat st;
    std::string text;
    if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
      constexpr std::int64_t limit = 1 << 20;
      text.resize(static_cast<std::size_t>(std::min<std::int64_t>(st.st_size, limit)));
      ssize_t n = ::pread(fd, text.data(), text.size(), 0);
      text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    ::close(fd);
    return text;
  }
  return {};
}

Result<UserIds> resolve_user(const SecurityContext& security, std::string_view image_user,
                             std::string_view passwd, std::string_view group) {
  UserIds ids;
  std::string_view spec = security.run_as_username.empty() ? image_user : security.run_as_username;
  if (security.run_as_user) spec = {};
  auto colon = spec.find(':');
  std::string_view user = spec.substr(0, colon);
  std::string_view named_group = colon == std::string_view::npos ? "" : spec.substr(colon + 1);
  std::optional<PasswdEntry> entry;
  if (security.run_as_user) {
    ids.uid = *security.run_as_user;
  } else if (!user.empty()) {
    entry = find_passwd(passwd, [&](const PasswdEntry& e) { return e.name == user; });
    auto numeric = number(user);
    if (!entry && !numeric) {
      return Error{Code::invalid, "unable to find user " + std::string(user) +
                                      ": no matching entries in passwd file"};
    }
    ids.uid = entry ? entry->uid : *numeric;
  }
  if (!entry) entry = find_passwd(passwd, [&](const PasswdEntry& e) { return e.uid == ids.uid; });
  if (entry) {
    ids.gid = entry->gid;
    if (!entry->home.empty()) ids.home = entry->home;
  }
  if (!named_group.empty()) {
    SKIFF_TRY(ids.gid, group_id(named_group, group));
  }
  if (security.run_as_group) ids.gid = *security.run_as_group;
  ids.groups = security.supplemental_groups;
  ids.groups.push_back(ids.gid);
  if (entry && !security.strict_supplemental_groups) {
    each_group(group, [&](std::string_view, std::int64_t gid, std::string_view members) {
      auto names = split(members, ',');
      if (std::find(names.begin(), names.end(), entry->name) != names.end()) {
        ids.groups.push_back(gid);
      }
    });
  }
  std::sort(ids.groups.begin(), ids.groups.end());
  ids.groups.erase(std::unique(ids.groups.begin(), ids.groups.end()), ids.groups.end());
  SKIFF_CHECK(check_range(ids));
  return ids;
}

}  // namespace skiff::runtime
