// The calls of PosixBackend that send from the page cache.
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "aio/posix/file_system.h"
#include "aio/posix/posix_backend.h"
#include "aio/posix/retry.h"

namespace blockexport::aio::posix {
namespace {

// cachestat(2), of Linux 6.5; newer than the headers that we build with.
constexpr long kCacheStatNumber = 451;
struct CacheStatRange {
  std::uint64_t offset;
  std::uint64_t length;
};
struct CacheStat {
  std::uint64_t cached_pages;
  std::uint64_t others[4];  // dirty, in writeback, evicted, recently evicted
};

// Distance between two bytes that are probed. Readahead completes in pieces of about this size.
constexpr std::uint64_t kProbeBytes = 256u << 10;
// Length of the window that a query covers beyond the requested range, and distance between its probed bytes. Pages
// that are still being read ahead are at the end of the cached range, so a window that reaches them is rejected.
constexpr std::uint64_t kWindowBytes = 8u << 20;
constexpr std::uint64_t kWindowProbeBytes = 4u << 20;

std::size_t total_of(std::span<const iovec> vectors) {
  std::size_t total = 0;
  for (const iovec& vector : vectors) total += vector.iov_len;
  return total;
}

bool can_read_now(int file, std::uint64_t offset) {
  char byte;
  iovec vector{.iov_base = &byte, .iov_len = 1};
  std::int64_t read = retry([&] { return preadv2(file, &vector, 1, static_cast<off_t>(offset), RWF_NOWAIT); });
  // File systems in memory do not support the flag, but there a cached page always has its content.
  return read == 1 || (read == -EOPNOTSUPP && lives_in_memory(file));
}

// True if all pages of the range are cached and up to date. cachestat() counts cached pages, but not whether their
// content has been read; so some are probed with a read that does not wait. mincore() would report each page, but costs
// forty times as much, and reports all pages as cached to a process that may not write the file.
bool all_there(int file, std::uint64_t offset, std::uint64_t end, std::uint64_t probe_bytes) {
  CacheStatRange range{.offset = offset, .length = end - offset};
  CacheStat found{};
  if (syscall(kCacheStatNumber, file, &range, &found, 0) != 0) return false;
  const auto page_bytes = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (found.cached_pages < (end - 1) / page_bytes - offset / page_bytes + 1) return false;
  for (std::uint64_t at = offset; at < end; at += std::min(probe_bytes, end - at)) {
    if (!can_read_now(file, std::min(at + probe_bytes, end) - 1)) return false;
  }
  return true;
}

bool reaches(int file, std::uint64_t end) {
  struct stat status{};
  if (fstat(file, &status) != 0) return false;
  return S_ISBLK(status.st_mode) || static_cast<std::uint64_t>(status.st_size) >= end;
}

}  // namespace

IoCount PosixBackend::try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset,
                                    std::uint64_t length) {
  std::size_t head_bytes = total_of(head);
  if (head_bytes > 0) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(head.data());
    message.msg_iovlen = head.size();
    // MSG_MORE makes TCP send the head together with the data that follows.
    std::int64_t sent = retry([&] { return calls_.sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE); });
    if (sent < 0) return fail(static_cast<int>(-sent));
    if (static_cast<std::size_t>(sent) < head_bytes) return static_cast<std::size_t>(sent);
  }
  auto at = static_cast<off_t>(offset);
  // It raises SIGPIPE when the peer has gone; the process ignores that signal.
  std::int64_t sent = retry([&] { return calls_.sendfile(fd, file, &at, length); });
  if (sent > 0) return head_bytes + static_cast<std::size_t>(sent);
  // The next call, without a head, returns the error.
  if (head_bytes > 0) return head_bytes;
  return fail(sent == 0 ? ENODATA : static_cast<int>(-sent));
}

bool PosixBackend::is_cached(int file, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t now_ns = clock_.now_ns();
  const std::uint64_t end = offset + length;
  // A page that was evicted meanwhile is read again; a truncated file would break a reply whose length was announced.
  if (seen_.holds(file, offset, end, now_ns)) return reaches(file, end);
  if (length < kWindowBytes && all_there(file, offset, offset + kWindowBytes, kWindowProbeBytes)) {
    seen_.add(file, offset, offset + kWindowBytes, now_ns);
    return true;
  }
  return all_there(file, offset, end, kProbeBytes);
}

}  // namespace blockexport::aio::posix
