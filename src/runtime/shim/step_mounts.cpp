// The steps that build a container's file system.
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "step_runner.hpp"

namespace skiff::runtime::shim {
namespace {

// From <sys/mount.h>, which clashes with <linux/mount.h>.
constexpr unsigned long ms_rdonly = 1, ms_nosuid = 2, ms_nodev = 4, ms_noexec = 8;
constexpr int mnt_detach = 2;
constexpr unsigned long ms_private = 1UL << 18U, ms_slave = 1UL << 19U;
constexpr unsigned onto_descriptor = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
constexpr int max_links = 40;

mount_attr attributes(std::uint64_t flags) {
  mount_attr attr{};
  if (flags & (bind_read_only | bind_recursive_read_only)) attr.attr_set |= MOUNT_ATTR_RDONLY;
  if (flags & bind_nosuid) attr.attr_set |= MOUNT_ATTR_NOSUID;
  if (flags & bind_nodev) attr.attr_set |= MOUNT_ATTR_NODEV;
  if (flags & bind_noexec) attr.attr_set |= MOUNT_ATTR_NOEXEC;
  return attr;
}

}  // namespace

int StepRunner::apply_mount(Step step, StepFields& f) {
  switch (step) {
    case Step::propagation: {
      const char* path = f.text();
      return system_.mount(nullptr, path, nullptr, f.number(), nullptr);
    }
    case Step::open_bind:
      return open_bind(f);
    case Step::root_overlay: {
      const char* target = f.text();
      return system_.mount("overlay", target, "overlay", 0, f.text());
    }
    case Step::root_layers:
      return root_layers(f);
    case Step::root_directory:
      return root_directory(f.text());
    case Step::pivot:
      return pivot(f.text());
    case Step::mount:
      return mount_at(f);
    case Step::place_bind:
      return place_bind(f);
    case Step::node:
      return make_node(f);
    case Step::symlink:
      return make_symlink(f);
    case Step::mask:
      return mask(f.text());
    case Step::read_only_path:
      return read_only_path(f.text());
    case Step::read_only_root:
      return system_.mount_setattr(AT_FDCWD, "/", 0, attributes(bind_read_only));
    case Step::make_directory: {
      const char* path = f.text();
      int r = system_.make_directory(path, static_cast<mode_t>(f.number()));
      return r == -EEXIST ? 0 : r;
    }
    case Step::tmpfs_root: {
      const char* path = f.text();
      return system_.mount("tmpfs", path, "tmpfs", ms_rdonly | ms_nosuid | ms_nodev | ms_noexec,
                           "size=4k,mode=555");
    }
    default:
      return -ENOSYS;
  }
}

int StepRunner::resolve(const char* path) {
  return system_.open_at(AT_FDCWD, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int StepRunner::ensure(const std::string& path, bool directory, int depth) {
  int fd = resolve(path.c_str());
  if (fd != -ENOENT) return fd;
  if (depth > max_links) return -ELOOP;
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  auto slash = trimmed.rfind('/');
  std::string parent = slash == 0 || slash == std::string::npos ? "/" : trimmed.substr(0, slash);
  std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  int above = ensure(parent, true, depth + 1);
  if (above < 0) return above;
  // O_PATH descriptors serve as directories for the *at calls.
  int r = directory ? system_.make_directory_at(above, name.c_str(), 0755)
                    : system_.open_at(above, name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644, 0);
  if (r > 0) system_.close(r);
  std::string link;
  if (r == -EEXIST && system_.read_link(above, name.c_str(), link) == 0) {
    // Dangling: make what it points to.
    system_.close(above);
    int made = ensure(link.starts_with('/') ? link : parent + "/" + link, directory, depth + 1);
    return made;
  }
  system_.close(above);
  if (r < 0 && r != -EEXIST) return r;
  return resolve(path.c_str());
}

int StepRunner::open_bind(StepFields& f) {
  std::size_t slot = f.number();
  const char* source = f.text();
  std::uint64_t flags = f.number();
  if (!f.ok() || slot >= slots_.size()) return -EBADMSG;
  std::uint64_t resolve_flags = flags & bind_no_symlinks ? RESOLVE_NO_SYMLINKS : 0;
  int fd = system_.open_at(AT_FDCWD, source, O_PATH, 0, resolve_flags);
  if (fd == -ENOENT && (flags & bind_optional)) return 0;
  if (fd < 0) return fd;
  const bool recursive = (flags & bind_recursive) != 0;
  const unsigned recurse = recursive ? AT_RECURSIVE : 0U;
  int tree = system_.open_tree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | recurse);
  system_.close(fd);
  if (tree < 0) return tree;
  // Propagation for the whole tree; read-only and the like for its top, unless asked otherwise.
  mount_attr propagation{};
  if (flags & bind_private) propagation.propagation = ms_private;
  if (flags & bind_slave) propagation.propagation = ms_slave;
  int r = 0;
  if (propagation.propagation != 0) {
    r = system_.mount_setattr(tree, "", AT_EMPTY_PATH | recurse, propagation);
  }
  mount_attr attr = attributes(flags);
  if (r >= 0 && attr.attr_set != 0) {
    unsigned whole = flags & bind_recursive_read_only ? recurse : 0U;
    r = system_.mount_setattr(tree, "", AT_EMPTY_PATH | whole, attr);
  }
  slots_[slot] = tree;
  return r;
}

int StepRunner::root_layers(StepFields& f) {
  const char* target = f.text();
  const char* upper = f.text();
  const char* work = f.text();
  std::vector<std::string> lower;
  for (auto n = f.number(); n > 0 && f.ok(); --n) lower.emplace_back(f.view());
  if (!f.ok()) return -EBADMSG;
  int r = system_.mount_overlay(lower, upper, work, target);
  if (r == -EINVAL) {
    error_ = "mounting the root file system: the image has too many layers (" +
             std::to_string(lower.size()) + ") for this kernel; Linux 6.5 or later takes them";
  }
  return r;
}

int StepRunner::root_directory(const char* path) {
  int tree = system_.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE);
  if (tree < 0) return tree;
  int r = system_.move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
  system_.close(tree);
  return r;
}

int StepRunner::pivot(const char* path) {
  int r = system_.change_directory(path);
  // New and old root in one place: the old one ends up on top, and is taken off.
  if (r >= 0) r = system_.pivot_root(".", ".");
  if (r >= 0) r = system_.unmount(".", mnt_detach);
  if (r >= 0) r = system_.change_directory("/");
  return r;
}

int StepRunner::mount_at(StepFields& f) {
  const char* source = f.text();
  std::string target = f.text();
  const char* type = f.text();
  auto flags = f.number();
  const char* data = f.text();
  if (!f.ok()) return -EBADMSG;
  int fd = ensure(target, true);
  if (fd < 0) return fd;
  // On ".", so that the target is the directory just resolved and no other.
  int r = system_.change_directory(fd);
  system_.close(fd);
  if (r >= 0) r = system_.mount(source, ".", type, flags, *data ? data : nullptr);
  int back = system_.change_directory("/");
  return r < 0 ? r : back;
}

int StepRunner::place_bind(StepFields& f) {
  std::size_t slot = f.number();
  std::string target = f.text();
  if (!f.ok() || slot >= slots_.size()) return -EBADMSG;
  if (slots_[slot] < 0) return 0;  // optional and missing
  int directory = system_.is_directory(slots_[slot]);
  if (directory < 0) return directory;
  int fd = ensure(target, directory == 1);
  if (fd < 0) return fd;
  int r = system_.move_mount(slots_[slot], "", fd, "", onto_descriptor);
  if (r == -ENOTDIR) {
    error_ = "mounting at " + target +
             ": not a directory: are you trying to mount a directory onto a file (or vice-versa)? "
             "Check if the specified host path exists and is the expected type";
  }
  system_.close(fd);
  system_.close(slots_[slot]);
  slots_[slot] = -1;
  return r;
}

int StepRunner::make_node(StepFields& f) {
  std::string path = f.text();
  auto mode = static_cast<mode_t>(f.number());
  auto major_number = static_cast<unsigned>(f.number());
  auto minor_number = static_cast<unsigned>(f.number());
  auto uid = static_cast<uid_t>(f.number());
  auto gid = static_cast<gid_t>(f.number());
  if (!f.ok()) return -EBADMSG;
  auto slash = path.rfind('/');
  int above = ensure(path.substr(0, slash), true);
  if (above < 0) return above;
  std::string name = path.substr(slash + 1);
  int r = system_.make_node(above, name.c_str(), mode, makedev(major_number, minor_number));
  if (r >= 0 && (uid != 0 || gid != 0)) {
    r = system_.change_owner(above, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW);
  }
  system_.close(above);
  return r == -EEXIST ? 0 : r;
}

int StepRunner::make_symlink(StepFields& f) {
  const char* target = f.text();
  std::string path = f.text();
  auto slash = path.rfind('/');
  int above = ensure(path.substr(0, slash), true);
  if (above < 0) return above;
  int r = system_.make_symlink(target, above, path.c_str() + slash + 1);
  system_.close(above);
  return r == -EEXIST ? 0 : r;
}

int StepRunner::mask(const char* path) {
  int fd = resolve(path);
  if (fd == -ENOENT || fd == -ENOTDIR) return 0;
  if (fd < 0) return fd;
  int directory = system_.is_directory(fd);
  int r = directory;
  if (directory == 1) {
    r = system_.change_directory(fd);
    if (r >= 0) r = system_.mount("tmpfs", ".", "tmpfs", ms_rdonly, "size=0k");
    system_.change_directory("/");
  } else if (directory == 0) {
    int tree = system_.open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE);
    r = tree < 0 ? tree : system_.move_mount(tree, "", fd, "", onto_descriptor);
    if (tree >= 0) system_.close(tree);
  }
  system_.close(fd);
  return r;
}

int StepRunner::read_only_path(const char* path) {
  int fd = resolve(path);
  if (fd == -ENOENT || fd == -ENOTDIR) return 0;
  if (fd < 0) return fd;
  int tree = system_.open_tree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE);
  int r = tree;
  if (r >= 0) {
    r = system_.mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes(bind_read_only));
  }
  if (r >= 0) r = system_.move_mount(tree, "", fd, "", onto_descriptor);
  if (tree >= 0) system_.close(tree);
  system_.close(fd);
  return r;
}

}  // namespace skiff::runtime::shim
