#include "client/monitor/monitor_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/printable.h"
#include "json/writer.h"

namespace blockexport::monitor {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} << 10;

Result<OwnedFd> connected_socket(const std::string& path, std::uint32_t timeout_seconds) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(fmt::format("'{}' is too long for the path of a socket", printable(path)));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(Error::system("Cannot make a socket", Errno(errno)));
  const timeval patience{.tv_sec = timeout_seconds, .tv_usec = 0};
  // Bounds connect(2) and send(2).
  (void)setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail(Error::system(fmt::format("Cannot connect to the monitor '{}'", printable(path)), Errno(errno))
                    .with_hint("The daemon opens it with, for example: --chardev "
                               "socket,id=m,path=PATH,server=on,wait=off --monitor chardev=m"));
  }
  return socket;
}

std::string text_member(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  return text != nullptr ? *text : "no description";
}

ErrorKind kind_of(std::string_view class_name) {
  for (const ErrorKind kind : {ErrorKind::kCommandNotFound, ErrorKind::kDeviceNotActive, ErrorKind::kDeviceNotFound}) {
    if (class_name == error_class_name(kind)) return kind;
  }
  return ErrorKind::kGeneric;
}

}  // namespace

MonitorClient::MonitorClient(OwnedFd socket, std::string path, std::uint32_t timeout_seconds)
    : socket_(std::move(socket)),
      path_(std::move(path)),
      timeout_seconds_(timeout_seconds),
      parser_({.message_bytes_max = kReplyBytesMax}) {}

Result<MonitorClient> MonitorClient::connect(const std::string& path, std::uint32_t timeout_seconds) {
  Result<OwnedFd> socket = connected_socket(path, timeout_seconds);
  if (!socket) return fail(std::move(socket.error()));
  MonitorClient client(std::move(*socket), path, timeout_seconds);
  client.restart_deadline();
  Result<json::Object> greeting = client.receive();
  if (!greeting) {
    return fail(std::move(greeting.error()).with_hint("A monitor serves one client at a time. Is another one there?"));
  }
  if (greeting->find("QMP") == nullptr) return fail(fmt::format("'{}' is no QMP monitor", printable(path)));
  Result<json::Value> ready = client.execute("qmp_capabilities", {});
  if (!ready) return fail(std::move(ready.error()));
  return client;
}

Result<json::Value> MonitorClient::execute(const std::string& command, json::Object arguments) {
  restart_deadline();
  const json::Object request{{"execute", command}, {"arguments", std::move(arguments)}};
  TRY(send(json::to_string(request) + "\n"));
  for (;;) {
    Result<json::Object> reply = receive();
    if (!reply) return fail(std::move(reply.error()));
    if (json::Value* value = reply->find("return")) return std::move(*value);
    const json::Value* error = reply->find("error");
    if (error == nullptr) continue;
    const json::Object* described = error->as_object();
    if (described == nullptr) return fail("The daemon reported an error");
    return fail(Error(kind_of(text_member(*described, "class")), text_member(*described, "desc")));
  }
}

Result<> MonitorClient::send(const std::string& text) {
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t count = ::send(socket_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(Error::system(fmt::format("Cannot write to '{}'", printable(path_)), Errno(errno)));
    sent += static_cast<std::size_t>(count);
  }
  return {};
}

void MonitorClient::restart_deadline() {
  deadline_ns_ = clock_.now_ns() + std::uint64_t{timeout_seconds_} * 1'000'000'000;
}

Result<> MonitorClient::wait_for_bytes() const {
  for (;;) {
    const std::uint64_t now_ns = clock_.now_ns();
    const std::uint64_t left_ms = now_ns < deadline_ns_ ? (deadline_ns_ - now_ns) / 1'000'000 + 1 : 0;
    pollfd entry{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int count = poll(&entry, 1, static_cast<int>(left_ms));
    if (count > 0) return {};
    if (count < 0 && errno != EINTR) return fail(Error::system("Cannot wait for the monitor", Errno(errno)));
    if (left_ms == 0) {
      return fail(fmt::format("The monitor '{}' has not answered for {} s", printable(path_), timeout_seconds_));
    }
  }
}

Result<json::Object> MonitorClient::receive() {
  std::string buffer(kReadBytes, '\0');
  for (;;) {
    if (std::optional<Result<json::Value>> message = parser_.next()) {
      json::Object* object = *message ? (*message)->as_object() : nullptr;
      if (object == nullptr) return fail(fmt::format("'{}' sent no QMP message", printable(path_)));
      return std::move(*object);
    }
    TRY(wait_for_bytes());
    const ssize_t count = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (count > 0) {
      parser_.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
    } else if (count == 0) {
      return fail(fmt::format("The monitor '{}' has closed the connection", printable(path_)));
    } else if (errno != EINTR) {
      return fail(Error::system(fmt::format("Cannot read from '{}'", printable(path_)), Errno(errno)));
    }
  }
}

}  // namespace blockexport::monitor
