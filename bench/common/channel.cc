#include "common/channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/fatal.h"

namespace blockexport::bench {

namespace {

struct RawAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

RawAddress raw(const Address& address) {
  RawAddress out;
  if (address.path.empty()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&out.storage, &in, sizeof in);
    out.length = sizeof in;
    return out;
  }
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  if (address.path.size() >= sizeof un.sun_path) {
    fatal("socket path is too long: {}", address.path);
  }
  std::memcpy(un.sun_path, address.path.c_str(), address.path.size() + 1);
  std::memcpy(&out.storage, &un, sizeof un);
  out.length = sizeof un;
  return out;
}

int new_socket(const Address& address) {
  int fd = socket(address.path.empty() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fatal("socket: {}", std::strerror(errno));
  }
  return fd;
}

}  // namespace

Channel::~Channel() {
  if (fd_ >= 0) {
    if (tls_) {
      tls_->send_close_notify();
    }
    close(fd_);
  }
}

Channel Channel::connect_to(const Address& address) {
  Channel channel(new_socket(address));
  RawAddress to = raw(address);
  if (connect(channel.fd_, reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) {
    int why = errno;
    close(std::exchange(channel.fd_, -1));
    errno = why;
    return channel;
  }
  timeval patience{.tv_sec = kPatienceSeconds, .tv_usec = 0};
  setsockopt(channel.fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(channel.fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (address.path.empty()) {
    int on = 1;
    setsockopt(channel.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return channel;
}

bool Channel::read_exactly(std::span<std::byte> into) {
  while (!into.empty()) {
    ssize_t got = tls_ ? tls_->receive(into, true) : recv(fd_, into.data(), into.size(), MSG_WAITALL);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && errno == EAGAIN) {
      fatal("the server sent nothing for {} seconds", kPatienceSeconds);
    }
    if (got <= 0) {
      return false;
    }
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

bool Channel::write_all(std::span<const std::byte> from) {
  if (tls_) {
    iovec piece{.iov_base = const_cast<std::byte*>(from.data()), .iov_len = from.size()};
    tls_->encrypt({&piece, 1});
    return tls_->send_some(true);
  }
  while (!from.empty()) {
    ssize_t put = send(fd_, from.data(), from.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0 && errno == EAGAIN) {
      fatal("the server read nothing for {} seconds", kPatienceSeconds);
    }
    if (put < 0) {
      return false;
    }
    from = from.subspan(static_cast<std::size_t>(put));
  }
  return true;
}

bool Channel::secure(const TlsCredentials& credentials) {
  tls_ = std::make_unique<TlsLink>(fd_, credentials);
  return tls_->handshake();
}

ssize_t Channel::receive(std::span<std::byte> into, bool wait) {
  return tls_ ? tls_->receive(into, wait) : recv(fd_, into.data(), into.size(), wait ? 0 : MSG_DONTWAIT);
}

ssize_t Channel::send_pieces(std::span<const iovec> pieces) {
  if (tls_) {
    std::size_t sum = 0;
    for (const iovec& piece : pieces) {
      sum += piece.iov_len;
    }
    tls_->encrypt(pieces);
    return tls_->send_some(false) ? static_cast<ssize_t>(sum) : -1;
  }
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  for (;;) {
    ssize_t sent = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      return sent;
    }
    if (errno != EINTR) {
      return errno == EAGAIN ? 0 : -1;
    }
  }
}

int listen_on(const Address& address) {
  int fd = new_socket(address);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!address.path.empty()) {
    unlink(address.path.c_str());
  }
  RawAddress at = raw(address);
  constexpr int kBacklog = 4096;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at.storage), at.length) != 0 || listen(fd, kBacklog) != 0) {
    fatal("listen: {}", std::strerror(errno));
  }
  return fd;
}

}  // namespace blockexport::bench
