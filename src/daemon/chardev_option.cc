#include "daemon/chardev_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/identifier.h"
#include "base/print.h"
#include "base/similar_text.h"
#include "schema/char.h"
#include "schema/hints.h"
#include "schema/keyval_decoder.h"

namespace blockexport::daemon {
namespace {

// The parameters of QSD's option list; most kinds of chardev ignore most of them.
constexpr std::array kParameters = std::to_array<std::string_view>(
    {"backend",   "id",        "path",      "input-path", "host",         "port",        "fd",
     "to",        "ipv4",      "ipv6",      "abstract",   "tight",        "server",      "wait",
     "nodelay",   "delay",     "reconnect", "signal",     "reconnect-ms", "append",      "logfile",
     "logappend", "mux",       "tls-creds", "tls-authz",  "telnet",       "tn3270",      "websocket",
     "localaddr", "localport", "chardev",   "name",       "debug",        "size",        "width",
     "height",    "cols",      "rows",      "mouse",      "clipboard",    "logtimestamp"});
// Flags that select a protocol over the socket.
constexpr std::array<std::string_view, 3> kProtocols{"telnet", "tn3270", "websocket"};
// Warnings about parameters that are accepted but should not be used.
constexpr std::pair<std::string_view, std::string_view> kWarnings[] = {
    {"reconnect", "'reconnect' is deprecated, use 'reconnect-ms' instead, which counts milliseconds"},
    {"logfile", "'logfile' has no effect: the output of a character device is not copied to a file"}};

constexpr std::uint64_t kMillisecondsPerSecond = 1000;

// The values of one option list, by name and type.
class Values {
 public:
  explicit Values(const json::OptionList& list) : list_(list) {}

  std::optional<std::string> text(std::string_view key) const {
    const json::Option* option = list_.find(key);
    if (option == nullptr) return std::nullopt;
    return option->value;
  }

  Result<std::optional<bool>> flag(std::string_view key) const {
    const json::Option* option = list_.find(key);
    if (option == nullptr) return std::nullopt;
    if (auto value = schema::parse_boolean(option->value)) return *value;
    return fail(fmt::format("Parameter '{}' expects 'on' or 'off'", key));
  }

  Result<std::optional<std::uint64_t>> number(std::string_view key, std::uint64_t value_max = UINT64_MAX) const {
    const json::Option* option = list_.find(key);
    if (option == nullptr) return std::nullopt;
    auto value = schema::parse_unsigned(option->value);
    if (!value || option->value.contains('-')) return fail(fmt::format("Parameter '{}' expects a number", key));
    if (*value > value_max) return fail(fmt::format("Parameter '{}' expects a number from 0 to {}", key, value_max));
    return *value;
  }

 private:
  const json::OptionList& list_;
};

Result<net::SocketAddress> read_address(const Values& values) {
  auto path = values.text("path");
  auto host = values.text("host");
  auto port = values.text("port");
  auto fd = values.text("fd");
  int given = (path ? 1 : 0) + (host || port ? 1 : 0) + (fd ? 1 : 0);
  if (given > 1) return fail("chardev: socket: 'host', 'path' and 'fd' are mutually exclusive");
  if (path) {
    TRY_ASSIGN(auto abstract, values.flag("abstract"));
    TRY_ASSIGN(auto tight, values.flag("tight"));
    return net::UnixAddress{.path = *path, .abstract = abstract.value_or(false), .tight = tight.value_or(true)};
  }
  if (fd) return net::FdAddress{.descriptor = *fd};
  if (!host && !port) return fail("chardev: socket: no host, path or fd given");
  if (!port) return fail("chardev: socket: no port given");
  net::InetAddress inet;
  inet.host = host.value_or("");
  inet.port = *port;
  TRY_ASSIGN(inet.ipv4, values.flag("ipv4"));
  TRY_ASSIGN(inet.ipv6, values.flag("ipv6"));
  TRY_ASSIGN(auto to, values.number("to"));
  if (to && *to > UINT16_MAX) return fail("Parameter 'to' expects uint16_t");
  if (to) inet.to = static_cast<std::uint16_t>(*to);
  return inet;
}

Result<chardev::Options> read_socket(const Values& values) {
  TRY_ASSIGN(net::SocketAddress address, read_address(values));
  TRY_ASSIGN(auto server, values.flag("server"));
  TRY_ASSIGN(auto wait, values.flag("wait"));
  TRY_ASSIGN(auto reconnect_seconds, values.number("reconnect", chardev::kReconnectMsMax / kMillisecondsPerSecond));
  TRY_ASSIGN(auto reconnect_ms, values.number("reconnect-ms", chardev::kReconnectMsMax));
  if (reconnect_seconds && reconnect_ms) return fail("'reconnect' and 'reconnect-ms' are mutually exclusive");
  for (std::string_view protocol : kProtocols) {
    TRY_ASSIGN(auto wanted, values.flag(protocol));
    if (wanted.value_or(false)) return fail(fmt::format("chardev: socket: '{}' is not built", protocol));
  }
  bool is_server = server.value_or(false);
  if (!is_server && wait) return fail("'wait' option is incompatible with socket in client connect mode");
  if (is_server && (reconnect_seconds || reconnect_ms)) {
    return fail("'reconnect' option is incompatible with socket in server listen mode");
  }
  return chardev::SocketOptions{
      .address = std::move(address),
      .server = is_server,
      .wait = is_server && wait.value_or(true),
      .reconnect_ms = reconnect_ms.value_or(reconnect_seconds.value_or(0) * kMillisecondsPerSecond)};
}

Result<chardev::Options> read_options(const std::string& backend, const Values& values) {
  if (backend == "socket") return read_socket(values);
  if (backend == "null") return chardev::NullOptions{};
  if (backend == "stdio") {
    TRY_ASSIGN(auto signal, values.flag("signal"));
    return chardev::StdioOptions{.signal = signal.value_or(true)};
  }
  auto path = values.text("path");
  if (!path) return fail("chardev: file: no filename given");
  TRY_ASSIGN(auto append, values.flag("append"));
  return chardev::FileOptions{
      .output_path = *path, .input_path = values.text("input-path").value_or(""), .append = append.value_or(false)};
}

}  // namespace

Result<ChardevOption> read_chardev_option(const json::OptionList& list, std::string_view as_typed, const Log& log) {
  // The first one, whatever is wrong with the others.
  const auto id = std::ranges::find(list.options, "id", &json::Option::key);
  if (id != list.options.end() && !is_identifier(id->value)) {
    return fail(Error("Parameter 'id' expects an identifier").with_hint(kIdentifierHint));
  }
  for (const json::Option& option : list.options) {
    if (std::find(kParameters.begin(), kParameters.end(), option.key) == kParameters.end()) {
      return fail(
          Error(fmt::format("Invalid parameter '{}'", option.key)).with_hint(suggest_similar(option.key, kParameters)));
    }
    for (const auto& [key, text] : kWarnings) {
      if (option.key == key) log.warning_in_option(as_typed, text);
    }
    if (option.short_form) log.warning_in_option(as_typed, json::deprecation_note(option));
  }
  Values values(list);
  if (id == list.options.end()) return fail("chardev: no id specified");
  auto backend = values.text("backend");
  if (!backend) return fail(fmt::format("chardev: \"{}\" missing backend", id->value));
  const auto& known = schema::EnumNames<schema::ChardevBackendKind>::kNames;
  if (std::find(known.begin(), known.end(), *backend) == known.end()) {
    return fail(Error(fmt::format("'{}' is not a valid char driver name", *backend))
                    .with_hint(schema::hint_for_value("backend", "type", *backend, known)));
  }
  for (std::string_view key : {"logappend", "logtimestamp"}) TRY(values.flag(key));
  TRY_ASSIGN(chardev::Options options, read_options(*backend, values));
  return ChardevOption{.id = id->value,
                       .options = std::move(options),
                       .tls_creds = values.text("tls-creds"),
                       .tls_authz = values.text("tls-authz")};
}

void print_chardev_backends() {
  print(stdout, "Available chardev backend types: \n");
  auto names = schema::EnumNames<schema::ChardevBackendKind>::kNames;
  std::sort(names.begin(), names.end());
  for (std::string_view name : names) print(stdout, "  {}\n", name);
}

void print_chardev_options() {
  print(stdout, "chardev options:\n");
  for (std::string_view name : kParameters) print(stdout, "  {}\n", name);
}

}  // namespace blockexport::daemon
