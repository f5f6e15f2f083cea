#include "control/backup/nbd_uri.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "base/absolute_path.h"

namespace blockexport::control {
namespace {

bool is_unreserved(char byte) {
  return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
         byte == '.' || byte == '_' || byte == '~';
}

// A copy of the address as its family has it.
template <class Address>
Address as(const net::NumericAddress& address) {
  Address result{};
  std::memcpy(&result, &address.storage, sizeof result);
  return result;
}

std::optional<std::string> unix_uri(const net::NumericAddress& address, std::string_view name, bool is_tls) {
  const auto local = as<sockaddr_un>(address);
  const std::size_t bytes_max = address.length - offsetof(sockaddr_un, sun_path);
  const std::string_view path(local.sun_path, strnlen(local.sun_path, bytes_max));
  if (path.empty()) return std::nullopt;
  return nbd_unix_uri(absolute_path(path), name, is_tls);
}

std::string host_of(const sockaddr_in& inet) {
  if (inet.sin_addr.s_addr == INADDR_ANY) return "127.0.0.1";
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &inet.sin_addr, text, sizeof text);
}

// An address of a link is only unique with the number of its interface.
std::string host_of(const sockaddr_in6& inet) {
  if (IN6_IS_ADDR_UNSPECIFIED(&inet.sin6_addr)) return "[::1]";
  char text[INET6_ADDRSTRLEN];
  const std::string host = inet_ntop(AF_INET6, &inet.sin6_addr, text, sizeof text);
  if (inet.sin6_scope_id == 0) return fmt::format("[{}]", host);
  return fmt::format("[{}%25{}]", host, inet.sin6_scope_id);
}

}  // namespace

std::optional<std::string> nbd_uri(const net::NumericAddress& address, std::string_view export_name, bool is_tls) {
  const char* scheme = is_tls ? "nbds" : "nbd";
  const std::string name = percent_encoded(export_name);
  switch (address.family()) {
    case AF_UNIX:
      return unix_uri(address, export_name, is_tls);
    case AF_INET: {
      const auto inet = as<sockaddr_in>(address);
      return fmt::format("{}://{}:{}/{}", scheme, host_of(inet), ntohs(inet.sin_port), name);
    }
    case AF_INET6: {
      const auto inet = as<sockaddr_in6>(address);
      return fmt::format("{}://{}:{}/{}", scheme, host_of(inet), ntohs(inet.sin6_port), name);
    }
    case AF_VSOCK: {
      const auto vsock = as<sockaddr_vm>(address);
      const std::uint32_t id = vsock.svm_cid == VMADDR_CID_ANY ? VMADDR_CID_LOCAL : vsock.svm_cid;
      return fmt::format("{}+vsock://{}:{}/{}", scheme, id, vsock.svm_port, name);
    }
    default:
      return std::nullopt;
  }
}

std::string nbd_unix_uri(std::string_view path, std::string_view export_name, bool is_tls) {
  return fmt::format("{}+unix:///{}?socket={}", is_tls ? "nbds" : "nbd", percent_encoded(export_name),
                     percent_encoded(path));
}

std::string percent_encoded(std::string_view text) {
  std::string encoded;
  for (char byte : text) {
    if (is_unreserved(byte)) {
      encoded += byte;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(byte));
    }
  }
  return encoded;
}

}  // namespace blockexport::control
