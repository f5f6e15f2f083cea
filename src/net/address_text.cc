#include "net/address_text.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "base/printable.h"

namespace blockexport::net {
namespace {

constexpr const char* kFormsHint =
    "An address is HOST:PORT, [IPV6]:PORT, unix:PATH, unix:@NAME, vsock:CID:PORT, or systemd:NAME.";
// sd_listen_fds_with_names(3)
constexpr std::size_t kSystemdNameBytes = 255;
constexpr std::uint32_t kLastPort = 65535;

Error wrong(std::string_view text, std::string_view reason) {
  return Error(fmt::format("Address '{}' {}", printable(text, kAddressTextBytesMax), reason)).with_hint(kFormsHint);
}

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

bool is_digit(char byte) {
  return byte >= '0' && byte <= '9';
}

bool is_letter(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

bool is_of_host_name(char byte) {
  return is_letter(byte) || is_digit(byte) || byte == '-' || byte == '_' || byte == '.';
}

// True if it may be a name of /etc/services, which getaddrinfo(3) looks up.
bool is_service_name(std::string_view text) {
  return std::ranges::all_of(text, is_of_host_name) && std::ranges::any_of(text, is_letter);
}

Result<> check_port(std::string_view text, std::string_view port) {
  if (port.empty()) return fail(wrong(text, "has no port"));
  if (const auto value = number(port); value && *value <= kLastPort) return {};
  if (std::ranges::all_of(port, is_digit)) return fail(wrong(text, "has a port above 65535"));
  if (!is_service_name(port)) return fail(wrong(text, "has a port that is neither a number nor the name of a service"));
  return {};
}

Result<SocketAddress> parse_unix(std::string_view text, std::string_view path) {
  if (path.empty()) return fail(wrong(text, "has no path"));
  if (path.find('\0') != std::string_view::npos) return fail(wrong(text, "has a zero byte in its path"));
  if (path == "@") return fail(wrong(text, "has no name after the '@'"));
  if (path.starts_with('@')) return UnixAddress{.path = std::string(path.substr(1)), .abstract = true};
  return UnixAddress{.path = std::string(path)};
}

Result<SocketAddress> parse_vsock(std::string_view text, std::string_view rest) {
  const std::size_t colon = rest.find(':');
  if (colon == std::string_view::npos) return fail(wrong(text, "has no port: vsock:CID:PORT"));
  const std::string_view id = rest.substr(0, colon);
  const std::string_view port = rest.substr(colon + 1);
  if (!id.empty() && !number(id)) return fail(wrong(text, "has a CID that is no number"));
  if (!number(port)) return fail(wrong(text, "has a port that is no number"));
  return VsockAddress{.cid = std::string(id.empty() ? kAnyVsockId : id), .port = std::string(port)};
}

Result<SocketAddress> parse_systemd(std::string_view text, std::string_view name) {
  if (name.empty()) return fail(wrong(text, "has no name: it is that of FileDescriptorName= in the socket unit"));
  const auto is_forbidden = [](char byte) { return byte <= ' ' || byte == ':' || byte == '\x7f'; };
  if (name.size() > kSystemdNameBytes || std::ranges::any_of(name, is_forbidden)) {
    return fail(wrong(text, "has a name that FileDescriptorName= does not allow"));
  }
  return FdAddress{.name = std::string(name)};
}

Result<SocketAddress> parse_ipv6(std::string_view text) {
  const std::size_t close = text.find(']');
  if (close == std::string_view::npos) return fail(wrong(text, "has no ']' after its IPv6 address"));
  const std::string host(text.substr(1, close - 1));
  if (close + 1 == text.size() || text[close + 1] != ':') return fail(wrong(text, "has no port after the ']'"));
  // The number or name of an interface is the resolver's to check.
  const std::string numeric = host.substr(0, host.find('%'));
  in6_addr parsed{};
  if (inet_pton(AF_INET6, numeric.c_str(), &parsed) != 1)
    return fail(wrong(text, "has no IPv6 address in its brackets"));
  TRY(check_port(text, text.substr(close + 2)));
  return InetAddress{.host = host, .port = std::string(text.substr(close + 2))};
}

Result<SocketAddress> parse_inet(std::string_view text) {
  if (text.starts_with('[')) return parse_ipv6(text);
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    const bool is_path = text.find('/') != std::string_view::npos;
    return fail(wrong(text, is_path ? "is neither HOST:PORT nor unix:PATH" : "has no port"));
  }
  if (text.find(':', colon + 1) != std::string_view::npos) {
    return fail(wrong(text, "has several colons: an IPv6 address stands in brackets"));
  }
  const std::string_view host = text.substr(0, colon);
  if (host == "*") return fail(wrong(text, "has the host '*': an empty HOST stands for every address"));
  if (!std::ranges::all_of(host, is_of_host_name)) {
    return fail(wrong(text, "has a host with a character that host names do not have"));
  }
  TRY(check_port(text, text.substr(colon + 1)));
  return InetAddress{.host = std::string(host), .port = std::string(text.substr(colon + 1))};
}

}  // namespace

Result<SocketAddress> parse_address(std::string_view text) {
  if (text.empty()) return fail(Error("An address is empty").with_hint(kFormsHint));
  if (text.size() > kAddressTextBytesMax) {
    return fail(fmt::format("An address has at most {} bytes, and '{}' has {}", kAddressTextBytesMax, printable(text),
                            text.size()));
  }
  const auto after = [&](std::string_view prefix) -> std::optional<std::string_view> {
    if (!text.starts_with(prefix)) return std::nullopt;
    return text.substr(prefix.size());
  };
  if (auto path = after("unix:")) return parse_unix(text, *path);
  if (auto rest = after("vsock:")) return parse_vsock(text, *rest);
  if (auto name = after("systemd:")) return parse_systemd(text, *name);
  if (after("fd:")) return fail(wrong(text, "is a descriptor number: systemd:NAME takes an inherited socket"));
  return parse_inet(text);
}

}  // namespace blockexport::net
