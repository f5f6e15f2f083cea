// MetricsService: the HTTP listener with the pages /metrics, /healthz and /readyz. Off until open().
//
// Owned by the daemon; ends before Control. Thread: the control reactor. docs/metrics.md describes the pages.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/metrics/sample_writer.h"
#include "control/metrics/snapshot.h"
#include "http/server.h"
#include "net/listen.h"
#include "schema/operation.h"

namespace blockexport::control {

class Control;

// Errors: a malformed address, none at all, too many host names.
Result<> check_metrics(const schema::MetricsOptions& options);
// The addresses to listen on. Errors: a malformed one.
Result<std::vector<net::SocketAddress>> metrics_addresses(const schema::MetricsOptions& options);

class MetricsService final : private http::Handler {
 public:
  // Addresses that are bound and not served yet, and the other options that belong to them.
  class Prepared {
    friend class MetricsService;
    struct Address {
      std::string text;
      std::unique_ptr<net::Listener> listener;
    };
    std::vector<std::string> wanted_;
    std::vector<Address> opened_;
    http::HostCheck hosts_;
    MetricsSettings settings_;
  };

  explicit MetricsService(Control& control);
  ~MetricsService();

  // Listens on all addresses of `options`, or on none; a further call adds addresses and names, and replaces the other
  // options that it has. A unix path at which a process listens is refused, a stale socket there is replaced. Errors: a
  // malformed or unusable address, too many host names; the error of an address in use is busy.
  aio::Task<Result<>> open(schema::MetricsOptions options);

  // Prepares a change to `wanted` instead of all that there is; nullopt: no listener. Addresses in both keep their
  // sockets. Errors: as those of open(); a unix path on which a process listens is in use.
  aio::Task<Result<Prepared>> prepare(std::optional<schema::MetricsOptions> wanted);
  // Serves the new addresses. The former ones are served until retire().
  void commit(Prepared prepared);
  aio::Task<void> retire();

  // Ends all connections. Call it before destruction.
  aio::Task<void> close();

  // The addresses as they were given, in the order in which they were opened.
  std::vector<std::string> addresses() const;

 private:
  struct Served {
    std::string text;
    const net::Listener* listener;
    bool is_wanted = true;
  };

  // A socket for the address; a unix path at which a process listens is refused.
  aio::Task<Result<std::unique_ptr<net::Listener>>> bind(std::string text);
  void serve(std::string text, std::unique_ptr<net::Listener> listener);
  aio::Task<http::Reply> answer(http::Request request) override;
  aio::Task<http::Reply> write_page(MetricsFormat format);
  http::Reply readiness() const;
  Result<> fill_in(net::SocketAddress& address) const;
  void announce(const net::Listener& listener) const;

  Control& control_;
  MetricsSettings settings_;
  ReactorLoads loads_;
  http::Server server_;
  std::vector<Served> served_;
  aio::Mutex writing_;  // one page at a time, since each takes memory
};

}  // namespace blockexport::control
