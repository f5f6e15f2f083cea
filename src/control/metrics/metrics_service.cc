#include "control/metrics/metrics_service.h"

#include <fmt/format.h>

#include "aio/task/current.h"
#include "base/printable.h"
#include "control/core/control.h"
#include "control/metrics/metrics_page.h"
#include "net/address_text.h"

namespace blockexport::control {
namespace {

constexpr int kUnavailable = 503;
constexpr int kNotFound = 404;

}  // namespace

MetricsService::MetricsService(Control& control)
    : control_(control), server_(control.reactor(), control.log(), *this), writing_(control.reactor()) {}

MetricsService::~MetricsService() = default;

aio::Task<Result<>> MetricsService::open(schema::MetricsOptions options) {
  if (options.listen.empty()) co_return fail("Metrics need an address to listen on");
  http::HostCheck hosts = server_.hosts();
  std::vector<std::unique_ptr<net::Listener>> opened;
  for (const std::string& text : options.listen) {
    CO_TRY_ASSIGN(net::SocketAddress address, net::parse_address(text));
    if (const auto* inet = std::get_if<net::InetAddress>(&address)) CO_TRY(hosts.add(inet->host));
    CO_TRY(fill_in(address));
    auto listener =
        co_await net::Listener::open(control_.reactor(), std::move(address), SOMAXCONN, net::PathInUse::kRefused);
    if (!listener) {
      const std::string prefix = fmt::format("Metrics, address {}: ", printable(text, net::kAddressTextBytesMax));
      co_return fail(std::move(listener).error().with_prefix(prefix));
    }
    opened.push_back(std::move(*listener));
  }
  for (const std::string& name : options.host.value_or(std::vector<std::string>())) CO_TRY(hosts.add(name));
  server_.hosts() = std::move(hosts);
  settings_.shows_clients = options.per_client.value_or(settings_.shows_clients);
  if (options.latency) settings_.shows_latencies = options.latency;
  for (auto& listener : opened) {
    announce(*listener);
    server_.listen_on(std::move(listener));
  }
  co_return Result<>{};
}

Result<> MetricsService::fill_in(net::SocketAddress& address) const {
  if (!std::holds_alternative<net::FdAddress>(address)) return {};
  if (control_.named_sockets() == nullptr) return fail("This process has no sockets of systemd");
  return control_.named_sockets()->fill_in(address, "metrics");
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
