#include "client/serve/serve_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "base/absolute_path.h"
#include "json/value.h"
#include "json/writer.h"

namespace blockexport::serve {
namespace {

constexpr std::string_view kCredentials = "tls0";
constexpr std::string_view kRules = "authz0";
constexpr std::string_view kDefaultPort = "10809";

struct Address {
  std::string path;  // of a unix socket; empty: host and port
  std::string host;
  std::string port;
};

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

Result<Address> parse_address(const std::string& text) {
  if (text.starts_with("unix:")) {
    if (text.size() == 5) return fail("--listen unix: needs the path of a socket, as in unix:/run/disk.sock");
    return Address{.path = absolute_path(text.substr(5)), .host = {}, .port = {}};
  }
  const std::size_t colon = text.rfind(':');
  Address address;
  // A colon within brackets belongs to the host.
  const bool has_port = colon != std::string::npos && text.find(']', colon) == std::string::npos;
  address.host = has_port ? text.substr(0, colon) : text;
  address.port = has_port ? text.substr(colon + 1) : std::string(kDefaultPort);
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return fail(fmt::format("--listen {}: write an IPv6 address in brackets, as in [::1]:10809", text));
  }
  if (!is_port(address.port)) return fail(fmt::format("--listen {}: '{}' is no port number", text, address.port));
  return address;
}

json::Object encode(const Address& address) {
  if (!address.path.empty()) return {{"type", "unix"}, {"path", address.path}};
  return {{"type", "inet"}, {"host", address.host}, {"port", address.port}};
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

std::string uri_of(const Address& address, const std::string& name, bool has_tls) {
  const std::string_view scheme = has_tls ? "nbds" : "nbd";
  if (!address.path.empty()) {
    return fmt::format("{}+unix:///{}?socket={}", scheme, in_uri(name), in_uri(address.path));
  }
  const bool is_any = address.host.empty() || address.host == "0.0.0.0" || address.host == "::";
  const std::string host = is_any ? "localhost" : address.host;
  const bool has_colon = host.find(':') != std::string::npos;
  return fmt::format("{}://{}:{}/{}", scheme, has_colon ? "[" + host + "]" : host, address.port, in_uri(name));
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

  void add_server(const std::vector<Address>& addresses) {
    json::Object server{{"addr", encode(addresses.front())}};
    if (!options_.tls_directory.empty()) server.set("tls-creds", std::string(kCredentials));
    if (!options_.tls_authz_identity.empty()) server.set("tls-authz", std::string(kRules));
    add("--nbd-server", std::move(server));
    for (std::size_t i = 1; i < addresses.size(); ++i) add("--listen", encode(addresses[i]));
    for (const Address& one : addresses) {
      if (!one.path.empty()) plan_.sockets.push_back(one.path);
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
  std::vector<Address> addresses;
  for (const std::string& text : options.listen) {
    TRY_ASSIGN(Address address, parse_address(text));
    addresses.push_back(std::move(address));
  }
  if (addresses.empty()) addresses.push_back({.path = private_socket, .host = {}, .port = {}});
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
    for (const Address& one : addresses) uris.push_back(uri_of(one, name, has_tls));
  }
  maker.plan().uris = std::move(uris);
  return std::move(maker.plan());
}

}  // namespace blockexport::serve
