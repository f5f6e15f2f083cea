#include "aio/posix/traced.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "base/owned_fd.h"

namespace blockexport::aio::posix {

bool is_traced() {
  OwnedFd status(open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC));
  if (!status) return false;
  // The line is near the beginning.
  std::array<char, 1024> text;
  ssize_t count = read(status.get(), text.data(), text.size());
  if (count <= 0) return false;
  constexpr std::string_view kTracer = "\nTracerPid:\t";
  std::string_view lines(text.data(), static_cast<std::size_t>(count));
  std::size_t at = lines.find(kTracer);
  return at != std::string_view::npos && lines.substr(at + kTracer.size(), 2) != "0\n";
}

}  // namespace blockexport::aio::posix
