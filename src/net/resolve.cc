#include "net/resolve.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"

namespace blockexport::net {
namespace {

// One query of the resolver, shared by resolve() and its worker, which may hang when a name server does not answer.
struct Question {
  InetAddress address;
  addrinfo hints{};
  addrinfo* answer = nullptr;
  int code = 0;  // result of getaddrinfo(), whose numbers are not errnos

  ~Question() {
    if (answer != nullptr) freeaddrinfo(answer);
  }
  static std::int64_t ask(void* self) {
    auto* question = static_cast<Question*>(self);
    const char* host = question->address.host.empty() ? nullptr : question->address.host.c_str();
    question->code = getaddrinfo(host, question->address.port.c_str(), &question->hints, &question->answer);
    return 0;
  }
};

Result<int> wanted_family(const InetAddress& address) {
  bool v4 = address.ipv4.value_or(false);
  bool v6 = address.ipv6.value_or(false);
  bool v4_refused = address.ipv4 == false;
  bool v6_refused = address.ipv6 == false;
  if (v4_refused && v6_refused) return fail("Cannot disable IPv4 and IPv6 at same time");
  if (v6 && v4) return AF_UNSPEC;
  if (v6 || v4_refused) return AF_INET6;
  if (v4 || v6_refused) return AF_INET;
  return AF_UNSPEC;
}

template <class T>
bool parse_number(const std::string& text, T& number) {
  const char* end = text.data() + text.size();
  auto [stopped, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stopped == end && !text.empty();
}

// True if `port` is a number by the rules of getaddrinfo() but no valid port: getaddrinfo() would truncate it to 16
// bits.
bool is_number_out_of_range(const std::string& port) {
  char* end = nullptr;
  errno = 0;
  const long long number = std::strtoll(port.c_str(), &end, 10);
  if (end == port.c_str() || *end != '\0') return false;
  return errno != 0 || number < 0 || number > UINT16_MAX;
}

Error unresolved(const InetAddress& address, int code) {
  return Error(fmt::format("address resolution failed for {}:{}: {}", address.host, address.port, gai_strerror(code)));
}

}  // namespace

aio::Task<Result<std::vector<NumericAddress>>> resolve(InetAddress address, bool passive) {
  if (is_number_out_of_range(address.port)) {
    co_return fail(
        unresolved(address, EAI_SERVICE)
            .with_hint(fmt::format("A port is a number from 0 to {}, or the name of a service.", UINT16_MAX)));
  }
  aio::Reactor& reactor = co_await aio::current_reactor();
  auto question = std::make_shared<Question>();
  question->address = address;
  CO_TRY_ASSIGN(question->hints.ai_family, wanted_family(address));
  question->hints.ai_socktype = SOCK_STREAM;
  question->hints.ai_flags = AI_ADDRCONFIG | (passive ? AI_PASSIVE : 0);
  if (address.numeric) question->hints.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
  const std::shared_ptr<void> shared = question;
  auto asked = co_await reactor.call_abandonably(&Question::ask, shared);
  if (asked && question->code != 0) {
    // AI_ADDRCONFIG hides a family without configured addresses, but its loopback address may still work.
    question->hints.ai_flags &= ~AI_ADDRCONFIG;
    asked = co_await reactor.call_abandonably(&Question::ask, shared);
  }
  if (!asked) co_return fail(Error::system("address resolution failed", asked.error()));
  if (question->code != 0) {
    co_return fail(unresolved(address, question->code));
  }
  std::vector<NumericAddress> found;
  for (addrinfo* entry = question->answer; entry != nullptr; entry = entry->ai_next) {
    NumericAddress numeric;
    std::memcpy(&numeric.storage, entry->ai_addr, entry->ai_addrlen);
    numeric.length = entry->ai_addrlen;
    found.push_back(numeric);
  }
  co_return found;
}

Result<NumericAddress> unix_address(const UnixAddress& address) {
  NumericAddress numeric;
  auto* un = reinterpret_cast<sockaddr_un*>(&numeric.storage);
  un->sun_family = AF_UNIX;
  constexpr std::size_t kPathBytesMax = sizeof un->sun_path;
  // The first byte of an abstract name is a NUL.
  std::size_t room = address.abstract ? kPathBytesMax - 1 : kPathBytesMax;
  if (address.path.size() > room) {
    return fail(Error(fmt::format("UNIX socket path '{}' is too long", address.path))
                    .with_hint(fmt::format("Path must be less than {} bytes", kPathBytesMax)));
  }
  char* target = address.abstract ? un->sun_path + 1 : un->sun_path;
  std::memcpy(target, address.path.data(), address.path.size());
  numeric.length = sizeof(sockaddr_un);
  if (address.abstract && address.tight) {
    numeric.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + address.path.size());
  }
  return numeric;
}

Result<NumericAddress> vsock_address(const VsockAddress& address) {
  NumericAddress numeric;
  auto* vm = reinterpret_cast<sockaddr_vm*>(&numeric.storage);
  vm->svm_family = AF_VSOCK;
  if (!parse_number(address.cid, vm->svm_cid)) return fail(fmt::format("Failed to parse cid '{}'", address.cid));
  if (!parse_number(address.port, vm->svm_port)) return fail(fmt::format("Failed to parse port '{}'", address.port));
  numeric.length = sizeof(sockaddr_vm);
  return numeric;
}

std::string describe(const NumericAddress& address) {
  if (address.family() == AF_UNIX) {
    const auto* un = reinterpret_cast<const sockaddr_un*>(&address.storage);
    std::size_t bytes =
        address.length > offsetof(sockaddr_un, sun_path) ? address.length - offsetof(sockaddr_un, sun_path) : 0;
    if (bytes == 0) return "unix:";
    if (un->sun_path[0] == '\0') return "unix:@" + std::string(un->sun_path + 1, bytes - 1);
    return "unix:" + std::string(un->sun_path, strnlen(un->sun_path, bytes));
  }
  if (address.family() == AF_VSOCK) {
    const auto* vm = reinterpret_cast<const sockaddr_vm*>(&address.storage);
    return fmt::format("vsock:{}:{}", vm->svm_cid, vm->svm_port);
  }
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(address.get(), address.length, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  return address.family() == AF_INET6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<OwnedFd> adopt(const FdAddress& address) {
  if (address.socket == nullptr || !*address.socket) {
    return fail(Error("only QEMU supports file descriptor passing")
                    .with_hint("A socket can be inherited: name it on the command line, as in --nbd-server "
                               "addr.type=fd,addr.str=3."));
  }
  return std::move(*address.socket);
}

}  // namespace blockexport::net
