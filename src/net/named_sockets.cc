#include "net/named_sockets.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "base/printable.h"

namespace blockexport::net {

Result<> NamedSockets::fill_in(SocketAddress& address, std::string_view user) {
  auto* fd = std::get_if<FdAddress>(&address);
  if (fd == nullptr || fd->name.empty()) return {};
  if (!taken_.contains(fd->name)) TRY(take(fd->name, user));
  const Taken& taken = taken_.at(fd->name);
  if (taken.user != user) {
    return fail(fmt::format("The sockets systemd:{} are those of {}, not of {}", fd->name, taken.user, user));
  }
  auto copies = std::make_shared<std::vector<OwnedFd>>();
  for (const OwnedFd& socket : taken.sockets) {
    copies->emplace_back(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
    if (!copies->back()) {
      return fail(Error::system(fmt::format("Failed to use the socket systemd:{}", fd->name), Errno::last()));
    }
  }
  fd->named = std::move(copies);
  return {};
}

Result<> NamedSockets::take(const std::string& name, std::string_view user) {
  const std::vector<int> numbers = inherited_.numbers_of(name);
  if (numbers.empty()) {
    std::string known;
    for (const std::string& other : inherited_.names()) known += (known.empty() ? "" : ", ") + printable(other);
    return fail(Error(fmt::format("systemd passed no socket with the name '{}'", printable(name)))
                    .with_hint(known.empty() ? "It passed no socket at all (LISTEN_FDS)."
                                             : fmt::format("The names that it passed are: {}.", known)));
  }
  std::vector<OwnedFd> sockets;
  for (int number : numbers) {
    TRY_ASSIGN(OwnedFd socket, inherited_.take_socket(std::to_string(number)));
    sockets.push_back(std::move(socket));
  }
  taken_.emplace(name, Taken{.sockets = std::move(sockets), .user = std::string(user)});
  return {};
}

}  // namespace blockexport::net
