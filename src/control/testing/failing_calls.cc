#include "control/testing/failing_calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <optional>

namespace blockexport::control::testing {
namespace {

// State of the living object. The C library's functions get no object, so there is one state for the process.
struct State {
  std::mutex mutex;
  bool is_on = false;
  std::optional<std::uint64_t> number;  // of the call that fails
  std::string_view name;                // of the calls that fail, if no number is given
  std::uint64_t calls = 0;
  std::uint64_t refused = 0;
  std::string_view last;
};
constinit State state;

// True if this call fails; then errno is set.
bool is_refused(std::string_view name, int error) {
  std::lock_guard lock(state.mutex);
  if (!state.is_on) return false;
  const std::uint64_t number = state.calls++;
  if (state.number ? number != *state.number : name != state.name) return false;
  ++state.refused;
  state.last = name;
  errno = error;
  return true;
}

}  // namespace

FailingCalls::FailingCalls(std::uint64_t number) {
  std::lock_guard lock(state.mutex);
  assert(!state.is_on);
  state.number = number;
  state.calls = state.refused = 0;
  state.last = {};
  state.is_on = true;
}

FailingCalls::FailingCalls(std::string_view name) : FailingCalls(UINT64_MAX) {
  std::lock_guard lock(state.mutex);
  state.number.reset();
  state.name = name;
}

FailingCalls::~FailingCalls() {
  std::lock_guard lock(state.mutex);
  state.is_on = false;
}

std::uint64_t FailingCalls::calls() const {
  std::lock_guard lock(state.mutex);
  return state.calls;
}

std::uint64_t FailingCalls::refusals() const {
  std::lock_guard lock(state.mutex);
  return state.refused;
}

std::string FailingCalls::refused() const {
  std::lock_guard lock(state.mutex);
  return std::string(state.last);
}

}  // namespace blockexport::control::testing

// The linker replaces each function by the wrapper, and keeps the function itself under another name.
#define BLOCKEXPORT_WRAPPED(type, name, error, parameters, arguments)       \
  extern "C" type __real_##name parameters;                                 \
  extern "C" type __wrap_##name parameters;                                 \
  extern "C" type __wrap_##name parameters {                                \
    if (blockexport::control::testing::is_refused(#name, error)) return -1; \
    return __real_##name arguments;                                         \
  }

BLOCKEXPORT_WRAPPED(int, fstat, EIO, (int fd, struct stat* status), (fd, status))
BLOCKEXPORT_WRAPPED(int, inotify_init1, EMFILE, (int flags), (flags))
BLOCKEXPORT_WRAPPED(int, inotify_add_watch, ENOSPC, (int fd, const char* path, std::uint32_t mask), (fd, path, mask))
BLOCKEXPORT_WRAPPED(int, epoll_create1, EMFILE, (int flags), (flags))
BLOCKEXPORT_WRAPPED(int, eventfd, EMFILE, (unsigned count, int flags), (count, flags))
BLOCKEXPORT_WRAPPED(int, socket, EMFILE, (int family, int type, int protocol), (family, type, protocol))
BLOCKEXPORT_WRAPPED(int, bind, EACCES, (int fd, const sockaddr* address, socklen_t length), (fd, address, length))
BLOCKEXPORT_WRAPPED(int, listen, EADDRINUSE, (int fd, int backlog), (fd, backlog))
BLOCKEXPORT_WRAPPED(int, connect, EACCES, (int fd, const sockaddr* address, socklen_t length), (fd, address, length))
BLOCKEXPORT_WRAPPED(int, ftruncate, ENOSPC, (int fd, off_t bytes), (fd, bytes))
BLOCKEXPORT_WRAPPED(int, mkostemp, EMFILE, (char* pattern, int flags), (pattern, flags))

extern "C" int __real_open(const char* path, int flags, ...);
extern "C" int __wrap_open(const char* path, int flags, ...);
extern "C" int __wrap_open(const char* path, int flags, ...) {
  if (blockexport::control::testing::is_refused("open", EMFILE)) return -1;
  va_list more;
  va_start(more, flags);
  const auto mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  return __real_open(path, flags, mode);
}

// For regular files only: the loop's own reads of its wake-up descriptors are not steps of an operation.
extern "C" ssize_t __real_read(int fd, void* bytes, std::size_t count);
extern "C" ssize_t __wrap_read(int fd, void* bytes, std::size_t count);
extern "C" ssize_t __wrap_read(int fd, void* bytes, std::size_t count) {
  struct stat status{};
  const bool is_file = __real_fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  if (is_file && blockexport::control::testing::is_refused("read", EIO)) return -1;
  return __real_read(fd, bytes, count);
}

// Neither the reports of the tests nor wake-ups of loops are steps of an operation.
extern "C" ssize_t __real_write(int fd, const void* bytes, std::size_t count);
extern "C" ssize_t __wrap_write(int fd, const void* bytes, std::size_t count);
extern "C" ssize_t __wrap_write(int fd, const void* bytes, std::size_t count) {
  struct stat status{};
  const bool is_file = fd > STDERR_FILENO && __real_fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  if (is_file && blockexport::control::testing::is_refused("write", ENOSPC)) return -1;
  return __real_write(fd, bytes, count);
}

extern "C" int __real_openat(int directory, const char* path, int flags, ...);
extern "C" int __wrap_openat(int directory, const char* path, int flags, ...);
extern "C" int __wrap_openat(int directory, const char* path, int flags, ...) {
  if (blockexport::control::testing::is_refused("openat", EMFILE)) return -1;
  va_list more;
  va_start(more, flags);
  const auto mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  return __real_openat(directory, path, flags, mode);
}

BLOCKEXPORT_WRAPPED(int, fsync, EIO, (int fd), (fd))
BLOCKEXPORT_WRAPPED(int, renameat, EACCES, (int from_directory, const char* from, int to_directory, const char* to),
                    (from_directory, from, to_directory, to))
BLOCKEXPORT_WRAPPED(ssize_t, preadv2, EIO, (int fd, const iovec* vectors, int count, off_t offset, int flags),
                    (fd, vectors, count, offset, flags))

// Removing a registered descriptor never fails.
extern "C" int __real_epoll_ctl(int epoll, int what, int fd, epoll_event* event);
extern "C" int __wrap_epoll_ctl(int epoll, int what, int fd, epoll_event* event);
extern "C" int __wrap_epoll_ctl(int epoll, int what, int fd, epoll_event* event) {
  if (what == EPOLL_CTL_ADD && blockexport::control::testing::is_refused("epoll_ctl", ENOSPC)) return -1;
  return __real_epoll_ctl(epoll, what, fd, event);
}

using ThreadBody = void* (*)(void*);
extern "C" int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, ThreadBody body, void* self);
extern "C" int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, ThreadBody body, void* self);
extern "C" int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, ThreadBody body, void* self) {
  if (blockexport::control::testing::is_refused("pthread_create", EAGAIN)) return EAGAIN;
  return __real_pthread_create(thread, attributes, body, self);
}

extern "C" int __real_getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found);
extern "C" int __wrap_getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found);
extern "C" int __wrap_getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  if (blockexport::control::testing::is_refused("getaddrinfo", ENOMEM)) return EAI_MEMORY;
  return __real_getaddrinfo(host, service, hints, found);
}

extern "C" void* __real_dlopen(const char* name, int flags);
extern "C" void* __wrap_dlopen(const char* name, int flags);
extern "C" void* __wrap_dlopen(const char* name, int flags) {
  if (blockexport::control::testing::is_refused("dlopen", ENOMEM)) return nullptr;
  return __real_dlopen(name, flags);
}
