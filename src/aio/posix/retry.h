// retry(): repeats a system call while it fails with EINTR; returns its result, or minus an errno. Any thread.
#pragma once

#include <cerrno>
#include <cstdint>

namespace blockexport::aio::posix {

template <class Call>
std::int64_t retry(Call call) {
  std::int64_t result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

}  // namespace blockexport::aio::posix
