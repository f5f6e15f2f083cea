#include "control/metrics/metrics_service.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>
#include <utility>

#include "aio/task/current.h"
#include "base/printable.h"
#include "control/core/control.h"
#include "control/metrics/metrics_page.h"
#include "net/address_text.h"

namespace blockexport::control {
namespace {

constexpr int kUnavailable = 503;
constexpr int kNotFound = 404;

// The names that requests over TCP may be for.
Result<> add_hosts(const schema::MetricsOptions& options, http::HostCheck& hosts) {
  for (const std::string& text : options.listen) {
    TRY_ASSIGN(const net::SocketAddress address, net::parse_address(text));
    if (const auto* inet = std::get_if<net::InetAddress>(&address)) TRY(hosts.add(inet->host));
  }
  for (const std::string& name : options.host.value_or(std::vector<std::string>())) TRY(hosts.add(name));
  return {};
}

}  // namespace

Result<> check_metrics(const schema::MetricsOptions& options) {
  if (options.listen.empty()) return fail("Metrics need an address to listen on");
  std::set<std::string_view> seen;
  for (const std::string& text : options.listen) {
    TRY_ASSIGN(const net::SocketAddress address, net::parse_address(text));
    if (const auto* local = std::get_if<net::UnixAddress>(&address)) TRY(net::unix_address(*local));
    if (!seen.insert(text).second) return fail(fmt::format("Address '{}' is given twice", printable(text)));
  }
  http::HostCheck hosts;
  return add_hosts(options, hosts);
}

Result<std::vector<net::SocketAddress>> metrics_addresses(const schema::MetricsOptions& options) {
  std::vector<net::SocketAddress> addresses;
  for (const std::string& text : options.listen) {
    TRY_ASSIGN(net::SocketAddress address, net::parse_address(text));
    addresses.push_back(std::move(address));
  }
  return addresses;
}

MetricsService::MetricsService(Control& control)
    : control_(control), server_(control.reactor(), control.log(), *this), writing_(control.reactor()) {}

MetricsService::~MetricsService() = default;

aio::Task<Result<>> MetricsService::open(schema::MetricsOptions options) {
  CO_TRY(check_metrics(options));
  http::HostCheck hosts = server_.hosts();
  CO_TRY(add_hosts(options, hosts));
  std::vector<std::pair<std::string, std::unique_ptr<net::Listener>>> opened;
  for (const std::string& text : options.listen) {
    auto listener = co_await bind(text);
    if (!listener) {
      const std::string prefix = fmt::format("Metrics, address {}: ", printable(text, net::kAddressTextBytesMax));
      co_return fail(std::move(listener).error().with_prefix(prefix));
    }
    opened.emplace_back(text, std::move(*listener));
  }
  server_.hosts() = std::move(hosts);
  settings_.shows_clients = options.per_client.value_or(settings_.shows_clients);
  if (options.latency) settings_.shows_latencies = options.latency;
  for (auto& [text, listener] : opened) serve(std::move(text), std::move(listener));
  co_return Result<>{};
}

Result<> MetricsService::fill_in(net::SocketAddress& address) const {
  if (!std::holds_alternative<net::FdAddress>(address)) return {};
  if (control_.named_sockets() == nullptr) return fail("This process has no sockets of systemd");
  return control_.named_sockets()->fill_in(address, "metrics");
}

aio::Task<Result<std::unique_ptr<net::Listener>>> MetricsService::bind(std::string text) {
  CO_TRY_ASSIGN(net::SocketAddress address, net::parse_address(text));
  CO_TRY(fill_in(address));
  co_return co_await net::Listener::open(control_.reactor(), std::move(address), SOMAXCONN, net::PathInUse::kRefused);
}

aio::Task<Result<MetricsService::Prepared>> MetricsService::prepare(std::optional<schema::MetricsOptions> wanted) {
  Prepared prepared;
  if (!wanted) co_return prepared;
  CO_TRY(check_metrics(*wanted));
  CO_TRY(add_hosts(*wanted, prepared.hosts_));
  prepared.settings_.shows_clients = wanted->per_client.value_or(false);
  prepared.settings_.shows_latencies = wanted->latency;
  for (const std::string& text : wanted->listen) {
    prepared.wanted_.push_back(text);
    const bool is_served = std::ranges::any_of(served_, [&](const Served& one) { return one.text == text; });
    if (is_served) continue;
    CO_TRY_ASSIGN(auto listener, co_await bind(text));
    prepared.opened_.push_back({.text = text, .listener = std::move(listener)});
  }
  co_return prepared;
}

void MetricsService::commit(Prepared prepared) {
  server_.hosts() = std::move(prepared.hosts_);
  settings_ = prepared.settings_;
  for (Served& one : served_) {
    one.is_wanted = std::ranges::find(prepared.wanted_, one.text) != prepared.wanted_.end();
  }
  for (Prepared::Address& one : prepared.opened_) serve(std::move(one.text), std::move(one.listener));
}

aio::Task<void> MetricsService::retire() {
  std::vector<const net::Listener*> ended;
  for (const Served& one : served_) {
    if (!one.is_wanted) ended.push_back(one.listener);
  }
  std::erase_if(served_, [](const Served& one) { return !one.is_wanted; });
  for (const net::Listener* listener : ended) co_await server_.stop_listening_on(*listener);
}

std::vector<std::string> MetricsService::addresses() const {
  std::vector<std::string> list;
  for (const Served& one : served_) list.push_back(one.text);
  return list;
}

void MetricsService::serve(std::string text, std::unique_ptr<net::Listener> listener) {
  announce(*listener);
  served_.push_back({.text = std::move(text), .listener = listener.get()});
  server_.listen_on(std::move(listener));
}

void MetricsService::announce(const net::Listener& listener) const {
  if (const auto address = listener.public_address()) {
    control_.log().warning(
        fmt::format("metrics are served on {}: everybody who can reach that address can read them, with the names of "
                    "exports and nodes; the connection is not protected",
                    net::describe(*address)));
  }
  for (std::size_t i = 0; i < listener.socket_count(); ++i) {
    control_.log().info(fmt::format("metrics are served on {}", net::describe(listener.local_address(i))));
  }
}

aio::Task<void> MetricsService::close() {
  return server_.close();
}

aio::Task<http::Reply> MetricsService::answer(http::Request request) {
  if (request.path == "/metrics") co_return co_await write_page(format_for(request.accept));
  // The reply shows that the reactor of the control plane turns.
  if (request.path == "/healthz") co_return http::Reply{.body = "ok\n"};
  if (request.path == "/readyz") co_return readiness();
  co_return http::Reply{.code = kNotFound};
}

http::Reply MetricsService::readiness() const {
  if (control_.is_shutting_down()) return {.code = kUnavailable, .body = "shutting down\n"};
  if (!control_.is_serving()) return {.code = kUnavailable, .body = "starting\n"};
  return {.body = "ready\n"};
}

aio::Task<http::Reply> MetricsService::write_page(MetricsFormat format) {
  auto turn = co_await writing_.lock();
  if (!turn) co_return http::Reply{.code = kUnavailable, .body = "shutting down\n"};
  const Snapshot snapshot = collect(control_, settings_, server_.counters(), loads_);
  http::Reply reply{.content_type = content_type_of(format)};
  MetricsPage page(snapshot, format, reply.body);
  while (page.add_piece()) co_await aio::next_turn();
  co_return reply;
}

}  // namespace blockexport::control
