#include "daemon/sandbox.h"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "base/similar_text.h"
#include "daemon/landlock.h"
#include "daemon/system_call_filter.h"
#include "json/option_list.h"
#include "schema/hints.h"

namespace blockexport::daemon {
namespace {

constexpr std::array<std::string_view, 4> kKeys{"images", "credentials", "state", "sockets"};

// Files of the system that libraries read while the daemon runs: addresses of hosts, time zones, character sets,
// certificates of authorities, and descriptions of block devices and of this process.
constexpr const char* kReadAlways[] = {"/usr",
                                       "/lib",
                                       "/lib64",
                                       "/etc/hosts",
                                       "/etc/host.conf",
                                       "/etc/services",
                                       "/etc/gai.conf",
                                       "/etc/protocols",
                                       "/etc/resolv.conf",
                                       "/etc/nsswitch.conf",
                                       "/etc/localtime",
                                       "/etc/gnutls",
                                       "/etc/ssl/certs",
                                       "/run/systemd/resolve",
                                       "/run/resolvconf",
                                       "/proc/self",
                                       "/proc/sys/kernel/random",
                                       "/sys"};
constexpr const char* kWriteAlways[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};

std::vector<std::string>* paths_of(SandboxOptions& options, std::string_view key) {
  if (key == "images") return &options.images;
  if (key == "credentials") return &options.credentials;
  if (key == "state") return &options.state;
  if (key == "sockets") return &options.sockets;
  return nullptr;
}

bool has_paths(const SandboxOptions& options) {
  return !options.images.empty() || !options.credentials.empty() || !options.state.empty() || !options.sockets.empty();
}

// Text buffer for the functions that look users and groups up.
constexpr std::size_t kNameBytesMax = 64u << 10;

struct Account {
  std::string name;
  uid_t user;
  gid_t group;
};

Result<Account> find_account(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  std::vector<char> memory(kNameBytesMax);
  passwd entry{};
  passwd* found = nullptr;
  if (getpwnam_r(name.c_str(), &entry, memory.data(), memory.size(), &found) != 0 || found == nullptr) {
    return fail(fmt::format("--user {}: there is no user '{}'", text, name));
  }
  Account account{.name = name, .user = found->pw_uid, .group = found->pw_gid};
  if (colon == std::string::npos) return account;
  const std::string group = text.substr(colon + 1);
  struct group group_entry{};
  struct group* group_found = nullptr;
  if (getgrnam_r(group.c_str(), &group_entry, memory.data(), memory.size(), &group_found) != 0 ||
      group_found == nullptr) {
    return fail(fmt::format("--user {}: there is no group '{}'", text, group));
  }
  account.group = group_found->gr_gid;
  return account;
}

Result<> drop_capabilities() {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    // Without CAP_SETPCAP the bounding set stays, and has no effect on a process without capabilities.
    (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  auto held = none;
  // A filter of system calls around this process, as in a unit of systemd, may forbid capset(2).
  if (syscall(SYS_capget, &header, held.data()) == 0 && std::ranges::all_of(held, [](const auto& part) {
        return part.effective == 0 && part.permitted == 0 && part.inheritable == 0;
      })) {
    return {};
  }
  if (syscall(SYS_capset, &header, none.data()) != 0) {
    return fail(Error::system("--sandbox: cannot drop capabilities", Errno::last()));
  }
  return {};
}

// A path that begins with '-' may be missing, as those of units of systemd.
FileRule rule_for(const std::string& path, FileUse use) {
  const bool may_be_missing = path.starts_with('-');
  return {.path = path.substr(may_be_missing ? 1 : 0), .use = use, .must_exist = !may_be_missing};
}

// A rule for the path; in a directory of /dev, as of a volume group, also for the devices that its links name.
void add_image_rules(const std::string& path, std::vector<FileRule>& rules) {
  const FileRule rule = rule_for(path, FileUse::kWrite);
  rules.push_back(rule);
  if (!rule.path.starts_with("/dev/")) return;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(rule.path, error)) {
    // No other link leads out: a directory below /dev may be one for files, such as /dev/shm.
    if (!entry.is_block_file(error)) continue;
    rules.push_back({.path = entry.path().string(), .use = FileUse::kWrite, .must_exist = false});
  }
}

std::vector<FileRule> file_rules(const SandboxOptions& options) {
  std::vector<FileRule> rules;
  for (const char* path : kReadAlways) rules.push_back({.path = path, .use = FileUse::kRead, .must_exist = false});
  for (const char* path : kWriteAlways) rules.push_back({.path = path, .use = FileUse::kWrite, .must_exist = false});
  for (const std::string& path : options.images) add_image_rules(path, rules);
  for (const std::string& path : options.credentials) rules.push_back(rule_for(path, FileUse::kRead));
  for (const std::string& path : options.state) rules.push_back(rule_for(path, FileUse::kWrite));
  for (const std::string& path : options.sockets) rules.push_back(rule_for(path, FileUse::kSockets));
  return rules;
}

}  // namespace

std::optional<SandboxMode> sandbox_mode_of(std::string_view word) {
  if (word == "off") return SandboxMode::kOff;
  if (word == "seccomp") return SandboxMode::kSeccomp;
  if (word == "full") return SandboxMode::kFull;
  return std::nullopt;
}

Result<SandboxOptions> parse_sandbox(std::string_view argument) {
  SandboxOptions options;
  bool has_mode = false;
  for (const json::Option& option : json::parse_option_list(argument, "mode").options) {
    if (option.key == "mode") {
      const auto mode = sandbox_mode_of(option.value);
      if (!mode) return fail("the mode must be 'off', 'seccomp' or 'full'");
      options.mode = *mode;
      has_mode = true;
      continue;
    }
    std::vector<std::string>* paths = paths_of(options, option.key);
    if (paths == nullptr) {
      return fail(fmt::format("Invalid parameter '{}'", option.key) + "\n" +
                  schema::hint_for_option(option.key, kKeys, "", ""));
    }
    if (option.short_form) return fail(fmt::format("'{}' needs a path", option.key));
    if (option.value.empty()) return fail(fmt::format("the path of '{}' is empty", option.key));
    paths->push_back(option.value);
  }
  if (!has_mode) return fail("the mode must be 'off', 'seccomp' or 'full'");
  if (has_paths(options) && options.mode != SandboxMode::kFull) {
    return fail("paths belong to the mode 'full': the other modes do not restrict files");
  }
  return options;
}

Result<> check_user(const std::string& user) {
  TRY(find_account(user));
  return {};
}

Result<> become_user(const std::string& user) {
  TRY_ASSIGN(const Account account, find_account(user));
  if (initgroups(account.name.c_str(), account.group) != 0 ||
      setresgid(account.group, account.group, account.group) != 0 ||
      setresuid(account.user, account.user, account.user) != 0) {
    return fail(Error::system(fmt::format("--user {}: cannot become this user", user), Errno::last()));
  }
  // The change has made the files in /proc/self root's, and the daemon reads them. Core dumps are off anyway.
  (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  return {};
}

Result<> enter_sandbox(const SandboxOptions& options) {
  if (options.mode == SandboxMode::kOff) return {};
  if (!has_system_call_filter()) return filter_system_calls();
  // syslog(3) writes the local time, and the file of the time zone may be anywhere.
  tzset();
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return fail(Error::system("--sandbox: cannot set no_new_privs", Errno::last()));
  }
  if (options.mode == SandboxMode::kFull) TRY(restrict_files(file_rules(options)));
  TRY(drop_capabilities());
  return filter_system_calls();
}

std::string sandbox_note(const SandboxOptions& options) {
  switch (options.mode) {
    case SandboxMode::kOff:
      return "";
    case SandboxMode::kSeccomp:
      if (options.is_configured) {
        return "the sandbox of this daemon has no capabilities and few system calls: what needs more needs the mode "
               "\"off\" in [daemon] sandbox, and a restart";
      }
      return "the sandbox of this daemon has no capabilities and few system calls: what needs more needs "
             "'--sandbox off', and a restart";
    case SandboxMode::kFull:
      if (options.is_configured) {
        return "the sandbox of this daemon opens files only beneath the images, credentials, state and sockets of "
               "[daemon] sandbox: add the path there and restart";
      }
      return "the sandbox of this daemon opens files only beneath the paths of --sandbox images=, credentials=, state= "
             "and sockets=: add the path there and restart";
  }
  __builtin_unreachable();
}

}  // namespace blockexport::daemon
