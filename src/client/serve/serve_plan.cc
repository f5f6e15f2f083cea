#include "client/serve/serve_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "base/absolute_path.h"
#include "json/value.h"
#include "json/writer.h"
#include "net/address.h"
#include "net/address_text.h"

namespace blockexport::serve {
namespace {

constexpr std::string_view kCredentials = "tls0";
constexpr std::string_view kRules = "authz0";
constexpr std::string_view kDefaultPort = "10809";
// VMADDR_CID_LOCAL
constexpr std::string_view kLocalVsockId = "1";

// An address to listen on, of which a client can make use: a path, a host with the number of a port, or vsock.
Result<net::SocketAddress> listen_address(const std::string& text) {
  // A colon within brackets belongs to the host.
  const std::size_t colon = text.rfind(':');
  const bool has_port = colon != std::string::npos && text.find(']', colon) == std::string::npos;
  auto address = net::parse_address(has_port || text.empty() ? text : fmt::format("{}:{}", text, kDefaultPort));
  if (!address) return fail(std::move(address).error().with_prefix("--listen: "));
  if (std::holds_alternative<net::FdAddress>(*address)) {
    return fail(fmt::format("--listen {}: only a service has sockets of systemd", text));
  }
  if (auto* local = std::get_if<net::UnixAddress>(&*address)) {
    if (local->abstract) {
      return fail(Error(fmt::format("--listen {}: an abstract socket has no URI", text))
                      .with_hint("A file whose name begins with '@' is unix:./@NAME."));
    }
    local->path = absolute_path(local->path);
  }
  if (const auto* inet = std::get_if<net::InetAddress>(&*address)) {
    const bool is_number = std::ranges::all_of(inet->port, [](char c) { return c >= '0' && c <= '9'; });
    if (!is_number) return fail(fmt::format("--listen {}: '{}' is no port number", text, inet->port));
  }
  return address;
}

// The path of a unix socket, else null.
const std::string* path_of(const net::SocketAddress& address) {
  const auto* local = std::get_if<net::UnixAddress>(&address);
  return local != nullptr ? &local->path : nullptr;
}

json::Object encode(const net::SocketAddress& address) {
  if (const std::string* path = path_of(address)) return {{"type", "unix"}, {"path", *path}};
  if (const auto* vsock = std::get_if<net::VsockAddress>(&address)) {
    return {{"type", "vsock"}, {"cid", vsock->cid}, {"port", vsock->port}};
  }
  const auto& inet = std::get<net::InetAddress>(address);
  return {{"type", "inet"}, {"host", inet.host}, {"port", inet.port}};
}

// As a part of a URI; slashes may stay as they are.
std::string in_uri(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool is_plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                          std::string_view("._~/-").find(c) != std::string_view::npos;
    if (is_plain) {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

// The host as it stands in a URI: RFC 3986 for an IPv6 address, RFC 6874 for one with an interface.
std::string host_in_uri(const std::string& host) {
  if (host.empty() || host == "0.0.0.0" || host == "::") return "localhost";
  if (host.find(':') == std::string::npos) return host;
  const std::size_t percent = host.find('%');
  if (percent == std::string::npos) return fmt::format("[{}]", host);
  return fmt::format("[{}%25{}]", host.substr(0, percent), host.substr(percent + 1));
}

std::string uri_of(const net::SocketAddress& address, const std::string& name, bool has_tls) {
  const std::string_view scheme = has_tls ? "nbds" : "nbd";
  if (const std::string* path = path_of(address)) {
    return fmt::format("{}+unix:///{}?socket={}", scheme, in_uri(name), in_uri(*path));
  }
  if (const auto* vsock = std::get_if<net::VsockAddress>(&address)) {
    const bool is_any = vsock->cid == net::kAnyVsockId;
    return fmt::format("{}+vsock://{}:{}/{}", scheme, is_any ? kLocalVsockId : vsock->cid, vsock->port, in_uri(name));
  }
  const auto& inet = std::get<net::InetAddress>(address);
  return fmt::format("{}://{}:{}/{}", scheme, host_in_uri(inet.host), inet.port, in_uri(name));
}

std::string base_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

class PlanMaker {
 public:
  explicit PlanMaker(const ServeOptions& options) : options_(options) {}

  void add(std::string_view option, json::Object value) {
    plan_.arguments.emplace_back(option);
    plan_.arguments.push_back(json::to_string(json::Value(std::move(value))));
  }

  void add_tls(bool has_shared_keys) {
    add("--object", {{"qom-type", has_shared_keys ? "tls-creds-psk" : "tls-creds-x509"},
                     {"id", std::string(kCredentials)},
                     {"endpoint", "server"},
                     {"dir", options_.tls_directory}});
    if (options_.tls_authz_identity.empty()) return;
    add("--object",
        {{"qom-type", "authz-simple"}, {"id", std::string(kRules)}, {"identity", options_.tls_authz_identity}});
  }

  void add_server(const std::vector<net::SocketAddress>& addresses) {
    json::Object server{{"addr", encode(addresses.front())}};
    if (!options_.tls_directory.empty()) server.set("tls-creds", std::string(kCredentials));
    if (!options_.tls_authz_identity.empty()) server.set("tls-authz", std::string(kRules));
    add("--nbd-server", std::move(server));
    for (std::size_t i = 1; i < addresses.size(); ++i) add("--listen", encode(addresses[i]));
    for (const net::SocketAddress& one : addresses) {
      if (const std::string* path = path_of(one)) plan_.sockets.push_back(*path);
    }
  }

  void add_image(std::size_t number, const ServedImage& image, const std::string& format, const std::string& name) {
    const std::string node = fmt::format("image{}", number);
    json::Object file{{"driver", image.is_device ? "host_device" : "file"}, {"filename", image.path}};
    add("--blockdev", {{"driver", format},
                       {"node-name", node},
                       {"read-only", !options_.is_writable},
                       {"discard", "unmap"},
                       {"file", std::move(file)}});
    add("--export", {{"type", "nbd"},
                     {"id", fmt::format("export{}", number)},
                     {"node-name", node},
                     {"name", name},
                     {"writable", options_.is_writable}});
  }

  ServePlan& plan() { return plan_; }

 private:
  const ServeOptions& options_;
  ServePlan plan_;
};

}  // namespace

Result<ServePlan> make_plan(const ServeOptions& options, const std::vector<ServedImage>& images,
                            const std::string& private_socket, bool has_shared_keys) {
  if (images.size() > kServedImagesMax) {
    return fail(fmt::format("{} images are too many: {} at most", images.size(), kServedImagesMax));
  }
  if (images.size() > 1 && !options.export_name.empty()) {
    return fail("--export-name is for one image; several are exported by the names of their files");
  }
  std::vector<net::SocketAddress> addresses;
  for (const std::string& text : options.listen) {
    TRY_ASSIGN(net::SocketAddress address, listen_address(text));
    addresses.push_back(std::move(address));
  }
  if (addresses.empty()) addresses.emplace_back(net::UnixAddress{.path = private_socket});
  const bool has_tls = !options.tls_directory.empty();
  if (!options.tls_authz_identity.empty() && !has_tls) return fail("--tls-client needs --tls");

  PlanMaker maker(options);
  if (has_tls) maker.add_tls(has_shared_keys);
  std::set<std::string> names;
  std::vector<std::string> uris;
  for (std::size_t i = 0; i < images.size(); ++i) {
    TRY_ASSIGN(const std::string format, chosen_format(options.format, images[i]));
    const std::string name = images.size() == 1 ? options.export_name : base_name(images[i].path);
    if (!names.insert(name).second) return fail(fmt::format("Two images have the name '{}'", name));
    // The server comes before its exports.
    if (i == 0) maker.add_server(addresses);
    maker.add_image(i, images[i], format, name);
    for (const net::SocketAddress& one : addresses) uris.push_back(uri_of(one, name, has_tls));
  }
  maker.plan().uris = std::move(uris);
  return std::move(maker.plan());
}

}  // namespace blockexport::serve
