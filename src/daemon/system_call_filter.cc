#include "daemon/system_call_filter.h"

#ifdef BLOCKEXPORT_SECCOMP

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>

namespace blockexport::daemon {
namespace {

// Names, since the headers of libseccomp 2.5.4 lack newer calls; the ones that the library does not know are left out.
constexpr const char* kPermitted[] = {
    // memory and threads
    "brk", "futex", "futex_waitv", "get_robust_list", "gettid", "madvise", "membarrier", "mincore", "mlock", "mlock2",
    "mremap", "munlock", "munmap", "restart_syscall", "rseq", "sched_getaffinity", "sched_getparam",
    "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address", "exit", "exit_group", "arch_prctl",
    // time and signals
    "clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "signalfd4", "tgkill", "timerfd_create",
    "timerfd_settime",
    // events
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "inotify_add_watch",
    "inotify_init1", "inotify_rm_watch", "io_uring_enter", "io_uring_register", "io_uring_setup", "poll", "ppoll",
    "pselect6", "select",
    // files
    "access", "chdir", "chmod", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "faccessat",
    "faccessat2", "fadvise64", "fallocate", "fchmod", "fchmodat", "fcntl", "fdatasync", "flock", "fstat", "fstatfs",
    "fsync", "ftruncate", "getcwd", "getdents64", "link", "linkat", "lseek", "lstat", "memfd_create", "mkdir",
    "mkdirat", "newfstatat", "open", "openat", "openat2", "pipe2", "pread64", "preadv", "preadv2", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
    "rmdir", "sendfile", "splice", "stat", "statfs", "statx", "sync_file_range", "syncfs", "tee", "umask", "unlink",
    "unlinkat", "write", "writev",
    // sockets
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
    "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    // the process
    "getegid", "geteuid", "getgid", "getgroups", "getpgrp", "getpid", "getppid", "getpriority", "getrandom",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getuid", "prlimit64", "setrlimit", "sysinfo", "uname"};
// cachestat(2), which libseccomp 2.5.4 does not know; the number is the same for all architectures.
constexpr int kCacheStat = 451;

// SIOCUNIXFILE of <linux/un.h>, which excludes <sys/un.h>.
constexpr unsigned long kUnixFile = 0x89E0;
constexpr unsigned long kControls[] = {
    BLKDISCARD, BLKGETSIZE64,  BLKPBSZGET,        BLKROTATIONAL,     BLKSSZGET,       BLKZEROOUT,      FIONBIO,
    FIONREAD,   FS_IOC_FIEMAP, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, SIOCOUTQ,
    kUnixFile,  TCGETS,        TIOCGPGRP,         TIOCGWINSZ};
constexpr int kSocketFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK};
constexpr int kProcessControls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_GET_DUMPABLE, PR_SET_VMA};

struct Release {
  void operator()(void* filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, Release>;

// 0, or minus an errno.
int permit(const Filter& filter, const char* name) {
  const int number = seccomp_syscall_resolve_name(name);
  // On architectures without the call the number is negative.
  if (number == __NR_SCMP_ERROR || number < 0) return 0;
  return seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, number, 0);
}

// Permits a call whose argument `position` has these bits under `mask`.
int permit_with(const Filter& filter, int number, unsigned position, std::uint64_t mask, std::uint64_t bits) {
  const scmp_arg_cmp comparison{.arg = position, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = bits};
  return seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, number, 1, &comparison);
}

int add_rules(const Filter& filter) {
  constexpr std::uint64_t kInt = 0xFFFFFFFF;  // the upper half of an argument of type int has no meaning
  int error = 0;
  const auto note = [&error](int outcome) { error = error == 0 ? outcome : error; };
  for (const char* name : kPermitted) note(permit(filter, name));
  note(seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, kCacheStat, 0));
  // Threads, and no processes.
  note(permit_with(filter, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD));
  note(seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0));
  // No memory becomes code.
  note(permit_with(filter, SCMP_SYS(mmap), 2, PROT_EXEC, 0));
  note(permit_with(filter, SCMP_SYS(mprotect), 2, PROT_EXEC, 0));
  for (int family : kSocketFamilies) {
    note(permit_with(filter, SCMP_SYS(socket), 0, kInt, static_cast<std::uint64_t>(family)));
  }
  note(permit_with(filter, SCMP_SYS(socketpair), 0, kInt, AF_UNIX));
  for (unsigned long request : kControls) note(permit_with(filter, SCMP_SYS(ioctl), 1, kInt, request));
  for (int option : kProcessControls) {
    note(permit_with(filter, SCMP_SYS(prctl), 0, kInt, static_cast<std::uint64_t>(option)));
  }
  return error;
}

}  // namespace

bool has_system_call_filter() {
  return true;
}

Result<> filter_system_calls() {
  const Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (filter == nullptr) return fail("--sandbox: libseccomp cannot make a filter");
  // A tree instead of a list: the number of comparisons per call is small.
  (void)seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  int error = add_rules(filter);
  if (error == 0) error = seccomp_load(filter.get());
  if (error != 0) return fail(Error::system("--sandbox: cannot restrict the system calls", Errno(-error)));
  return {};
}

}  // namespace blockexport::daemon

#else

namespace blockexport::daemon {

bool has_system_call_filter() {
  return false;
}

Result<> filter_system_calls() {
  return fail(Error("--sandbox: this daemon was built without seccomp")
                  .with_hint("Build it with -DBLOCKEXPORT_SECCOMP=ON, which needs libseccomp-dev."));
}

}  // namespace blockexport::daemon

#endif
