#include "control/metrics/metrics_service.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "base/printable.h"
#include "control/core/control.h"
#include "control/metrics/metrics_page.h"

namespace blockexport::control {
namespace {

constexpr int kUnavailable = 503;
constexpr int kNotFound = 404;

Error wrong_address(std::string_view text) {
  return Error(fmt::format("'{}' is no address for metrics", printable(text)))
      .with_hint("An address is unix:PATH, HOST:PORT or [HOST]:PORT, as in 127.0.0.1:9809.");
}

Result<net::SocketAddress> parse_listen(std::string_view text) {
  constexpr std::string_view kUnix = "unix:";
  if (text.starts_with(kUnix)) {
    if (text.size() == kUnix.size()) return fail(wrong_address(text));
    return net::UnixAddress{.path = std::string(text.substr(kUnix.size()))};
  }
  std::size_t end = text.rfind(':');
  if (end == std::string_view::npos) return fail(wrong_address(text));
  std::string_view host = text.substr(0, end);
  const std::string_view port = text.substr(end + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(wrong_address(text));
  }
  const bool is_number = !port.empty() && std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number) return fail(wrong_address(text));
  return net::InetAddress{.host = std::string(host), .port = std::string(port)};
}

}  // namespace

MetricsService::MetricsService(Control& control)
    : control_(control), server_(control.reactor(), control.log(), *this), writing_(control.reactor()) {}

MetricsService::~MetricsService() = default;

aio::Task<Result<>> MetricsService::open(schema::MetricsOptions options) {
  if (options.listen.empty()) co_return fail("Metrics need an address to listen on");
  http::HostCheck hosts = server_.hosts();
  std::vector<std::unique_ptr<net::Listener>> opened;
  for (const std::string& text : options.listen) {
    CO_TRY_ASSIGN(net::SocketAddress address, parse_listen(text));
    if (const auto* inet = std::get_if<net::InetAddress>(&address)) CO_TRY(hosts.add(inet->host));
    CO_TRY_ASSIGN(auto listener, co_await net::Listener::open(control_.reactor(), std::move(address)));
    opened.push_back(std::move(listener));
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

void MetricsService::announce(const net::Listener& listener) const {
  if (auto takeover = listener.takeover()) control_.log().warning(*takeover);
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
  const Snapshot snapshot = collect(control_, settings_, server_.counters());
  http::Reply reply{.content_type = content_type_of(format)};
  MetricsPage page(snapshot, format, reply.body);
  while (page.add_piece()) co_await aio::next_turn();
  co_return reply;
}

}  // namespace blockexport::control
