#include "base/log_destination.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace blockexport {
namespace {

constexpr std::uint64_t kNanosecondsPerMicrosecond = 1000;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// A sealed memory file with the payload, which journald takes in place of a datagram that is too long.
OwnedFd sealed_file(std::string_view payload) {
  OwnedFd file(memfd_create("log record", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  while (file && !payload.empty()) {
    const ssize_t count = ::write(file.get(), payload.data(), payload.size());
    if (count <= 0) return {};
    payload.remove_prefix(static_cast<std::size_t>(count));
  }
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (file && fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) return {};
  return file;
}

}  // namespace

Result<LogDestination> LogDestination::journal(const std::string& path) {
  sockaddr_un address = address_of(path);
  if (path.size() >= sizeof address.sun_path) return fail("the path of the journal's socket is too long");
  OwnedFd probe(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe || connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(Error::system("cannot reach the journal at " + path, Errno::last()));
  }
  // An unconnected socket reaches the journal also after a restart of it.
  OwnedFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail(Error::system("cannot make a socket", Errno::last()));
  const timeval limit{.tv_sec = 0, .tv_usec = kJournalSendMaxNs / kNanosecondsPerMicrosecond};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  LogDestination destination(LogFormat::kJournal, std::move(fd));
  destination.journal_path_ = path;
  return destination;
}

LogDestination LogDestination::syslog(std::string_view program_name) {
  // openlog() keeps the pointer, so this name is never freed; it is set at most once or twice in a process.
  openlog(strndup(program_name.data(), program_name.size()), LOG_PID | LOG_NDELAY, LOG_DAEMON);
  return {LogFormat::kSyslog, -1};
}

bool LogDestination::send(std::string_view payload) const {
  if (format_ == LogFormat::kJournal) return send_to_journal(payload);
  const int priority = payload[0] - '0';
  payload.remove_prefix(1);
  ::syslog(priority, "%.*s", static_cast<int>(payload.size()), payload.data());
  return true;
}

bool LogDestination::send_to_journal(std::string_view payload) const {
  sockaddr_un address = address_of(journal_path_);
  const auto* receiver = reinterpret_cast<const sockaddr*>(&address);
  ssize_t sent;
  do {
    sent = sendto(fd_, payload.data(), payload.size(), MSG_NOSIGNAL, receiver, sizeof address);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return true;
  if (errno != EMSGSIZE && errno != ENOBUFS) return false;
  const OwnedFd file = sealed_file(payload);
  if (!file) return false;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = sizeof address;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = file.get();
  std::memcpy(CMSG_DATA(header), &number, sizeof number);
  do {
    sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

}  // namespace blockexport
