// MetricsService: the HTTP listener with the pages /metrics, /healthz and /readyz. Off until open().
//
// Owned by the daemon; ends before Control. Thread: the control reactor. docs/metrics.md describes the pages.
#pragma once

#include <memory>
#include <vector>

#include "control/metrics/sample_writer.h"
#include "control/metrics/snapshot.h"
#include "http/server.h"
#include "net/listen.h"
#include "schema/operation.h"

namespace blockexport::control {

class Control;

class MetricsService final : private http::Handler {
 public:
  explicit MetricsService(Control& control);
  ~MetricsService();

  // Listens on all addresses of `options`, or on none; a further call adds addresses and names, and replaces the other
  // options that it has. A unix path at which a process listens is refused, a stale socket there is replaced. Errors: a
  // malformed or unusable address, too many host names; the error of an address in use is busy.
  aio::Task<Result<>> open(schema::MetricsOptions options);
  // Ends all connections. Call it before destruction.
  aio::Task<void> close();

  const std::vector<std::unique_ptr<net::Listener>>& listeners() const { return server_.listeners(); }

 private:
  aio::Task<http::Reply> answer(http::Request request) override;
  aio::Task<http::Reply> write_page(MetricsFormat format);
  http::Reply readiness() const;
  Result<> fill_in(net::SocketAddress& address) const;
  void announce(const net::Listener& listener) const;

  Control& control_;
  MetricsSettings settings_;
  ReactorLoads loads_;
  http::Server server_;
  aio::Mutex writing_;  // one page at a time, since each takes memory
};

}  // namespace blockexport::control
