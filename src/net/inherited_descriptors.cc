#include "net/inherited_descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/standard_descriptors.h"

namespace blockexport::net {
namespace {

// A variable of the environment, "" when it is not set. Read by main() before there are threads.
std::string variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

std::optional<int> parse_descriptor(const std::string& text) {
  int number = -1;
  const char* end = text.data() + text.size();
  auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stopped != end || number < 0) return std::nullopt;
  return number;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

}  // namespace

InheritedDescriptors InheritedDescriptors::record(const char* open_files) {
  InheritedDescriptors inherited;
  inherited.read_names();
  const std::unique_ptr<DIR, CloseDirectory> directory(opendir(open_files));
  if (directory == nullptr) {
    for (int fd = 0; fd < kNumberProbedMax; ++fd) {
      if (fcntl(fd, F_GETFD) >= 0) inherited.left_.insert(fd);
    }
    return inherited;
  }
  while (const dirent* entry = readdir(directory.get())) {
    const std::optional<int> fd = parse_descriptor(entry->d_name);
    if (fd && *fd != dirfd(directory.get())) inherited.left_.insert(*fd);
  }
  return inherited;
}

// The variables are for this process only if LISTEN_PID says so: a parent may have left them behind. A descriptor
// without a name has the one that sd_listen_fds_with_names(3) gives it.
void InheritedDescriptors::read_names() {
  if (parse_descriptor(variable("LISTEN_PID")) != getpid()) return;
  const std::optional<int> count = parse_descriptor(variable("LISTEN_FDS"));
  if (!count || *count > kNamedDescriptorsMax) return;
  const std::string names = variable("LISTEN_FDNAMES");
  std::string_view left = names;
  for (int i = 0; i < *count; ++i) {
    const std::string_view name = left.substr(0, left.find(':'));
    left.remove_prefix(std::min(left.size(), name.size() + 1));
    names_.emplace_back(name.empty() ? "unknown" : name);
  }
}

std::vector<int> InheritedDescriptors::numbers_of(std::string_view name) const {
  std::vector<int> numbers;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == name) numbers.push_back(kFirstNamedDescriptor + static_cast<int>(i));
  }
  return numbers;
}

std::set<std::string> InheritedDescriptors::names() const {
  return {names_.begin(), names_.end()};
}

Result<OwnedFd> InheritedDescriptors::take_socket(const std::string& number) {
  const std::optional<int> fd = parse_descriptor(number);
  if (!fd) return fail(fmt::format("Unable to parse FD number {}", number));
  const auto refuse = [&](std::string why) {
    return fail(Error(fmt::format("File descriptor '{}' is not a socket", number)).with_hint(std::move(why)));
  };
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(*fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return refuse("");
  if (!left_.contains(*fd)) {
    return refuse("Only descriptors that the process was started with can be named, and each only once.");
  }
  if (type != SOCK_STREAM) return refuse("It is a socket, but not a stream socket.");
  // A standard descriptor's number stays reserved, so that no other file gets it when the socket is closed.
  OwnedFd taken(moved_from_standard_descriptors(*fd));
  if (!taken) return fail(Error::system(fmt::format("Unable to use file descriptor '{}'", number), Errno::last()));
  fcntl(taken.get(), F_SETFD, FD_CLOEXEC);
  fcntl(taken.get(), F_SETFL, fcntl(taken.get(), F_GETFL) | O_NONBLOCK);
  left_.erase(*fd);
  return taken;
}

}  // namespace blockexport::net
