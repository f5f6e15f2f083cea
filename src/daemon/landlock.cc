#include "daemon/landlock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/owned_fd.h"

namespace blockexport::daemon {
namespace {

// Rights of later kernels than the headers of Debian 12 (landlock(7), "Filesystem actions").
constexpr std::uint64_t kRefer = 1ull << 13;          // version 2
constexpr std::uint64_t kTruncate = 1ull << 14;       // version 3
constexpr std::uint64_t kDeviceControl = 1ull << 15;  // version 5: ioctl() of devices

constexpr std::uint64_t kReadRights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWriteRights = kReadRights | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                                       LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                       LANDLOCK_ACCESS_FS_REMOVE_DIR | kRefer | kTruncate | kDeviceControl;
constexpr std::uint64_t kSocketRights = kWriteRights | LANDLOCK_ACCESS_FS_MAKE_SOCK;
// The rights that make sense for a file that is no directory; the kernel refuses the others.
constexpr std::uint64_t kRightsOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate | kDeviceControl;

// All rights that a version restricts.
std::uint64_t restricted_rights(int version) {
  std::uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
  if (version >= 2) rights |= kRefer;
  if (version >= 3) rights |= kTruncate;
  if (version >= 5) rights |= kDeviceControl;
  return rights;
}

std::uint64_t rights_of(FileUse use) {
  switch (use) {
    case FileUse::kRead:
      return kReadRights;
    case FileUse::kWrite:
      return kWriteRights;
    case FileUse::kSockets:
      return kSocketRights;
  }
  __builtin_unreachable();
}

Result<> add_rule(int ruleset, const FileRule& rule, std::uint64_t restricted) {
  const OwnedFd file(open(rule.path.c_str(), O_PATH | O_CLOEXEC));
  struct stat status{};
  if (!file || fstat(file.get(), &status) != 0) {
    if (!rule.must_exist) return {};
    return fail(Error::system(fmt::format("--sandbox: '{}'", rule.path), Errno::last()));
  }
  std::uint64_t rights = rights_of(rule.use) & restricted;
  if (!S_ISDIR(status.st_mode)) rights &= kRightsOfFiles;
  const landlock_path_beneath_attr beneath{.allowed_access = rights, .parent_fd = file.get()};
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) != 0) {
    return fail(Error::system(fmt::format("--sandbox: cannot admit '{}'", rule.path), Errno::last()));
  }
  return {};
}

}  // namespace

int landlock_version() {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? static_cast<int>(version) : 0;
}

Result<> restrict_files(const std::vector<FileRule>& rules) {
  const int version = landlock_version();
  if (version == 0) {
    return fail(Error("--sandbox full: the kernel has no Landlock").with_hint("'--sandbox seccomp' works without it."));
  }
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = restricted_rights(version);
  const OwnedFd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0)));
  if (!ruleset) return fail(Error::system("--sandbox full: cannot make a set of rules", Errno::last()));
  for (const FileRule& rule : rules) TRY(add_rule(ruleset.get(), rule, attributes.handled_access_fs));
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return fail(Error::system("--sandbox full: cannot restrict the files of this process", Errno::last()));
  }
  return {};
}

}  // namespace blockexport::daemon
