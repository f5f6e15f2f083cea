#include "control/core/quorum_events.h"

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "schema/block_core.h"

namespace blockexport::control {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

// The sectors that contain bytes of the range.
struct Sectors {
  std::int64_t first;
  std::int64_t count;
};

Sectors sectors_of(block::Range range) {
  const std::uint64_t first = range.offset / kSectorBytes;
  const std::uint64_t end = (range.end() + kSectorBytes - 1) / kSectorBytes;
  return {static_cast<std::int64_t>(first), static_cast<std::int64_t>(end - first)};
}

schema::QuorumOpType type_of(block::QuorumOperation operation) {
  switch (operation) {
    case block::QuorumOperation::kRead:
      return schema::QuorumOpType::kRead;
    case block::QuorumOperation::kWrite:
      return schema::QuorumOpType::kWrite;
    case block::QuorumOperation::kFlush:
      break;
  }
  return schema::QuorumOpType::kFlush;
}

schema::QuorumReportBadEvent event_of(const block::QuorumBadChild& report) {
  const Sectors sectors = sectors_of(report.range);
  std::optional<std::string> error;
  if (report.error) error = errno_text(*report.error);
  return {type_of(report.operation), std::move(error), report.node_name, sectors.first, sectors.count};
}

schema::QuorumFailureEvent event_of(const block::QuorumFailure& report) {
  const Sectors sectors = sectors_of(report.range);
  return {report.node_name, sectors.first, sectors.count};
}

}  // namespace

struct QuorumEvents::Reports : std::enable_shared_from_this<Reports> {
  void post() {
    if (reactor == nullptr || is_posted) return;
    is_posted = true;
    reactor->post([reports = shared_from_this()] { reports->emit(); });
  }

  void emit() {
    std::map<std::string, block::QuorumBadChild> children;
    std::map<std::string, block::QuorumFailure> nodes;
    qmp::EventQueue* queue = nullptr;
    {
      const std::lock_guard lock(mutex);
      is_posted = false;
      std::swap(children, bad_children);
      std::swap(nodes, failed_nodes);
      queue = events;
    }
    if (queue == nullptr) return;
    for (const auto& [name, report] : children) queue->emit(schema::quorum_report_bad_event(event_of(report)));
    for (const auto& [name, report] : nodes) queue->emit(schema::quorum_failure_event(event_of(report)));
  }

  std::mutex mutex;  // guards the members below; `events` is used on its reactor alone
  aio::Reactor* reactor = nullptr;
  qmp::EventQueue* events = nullptr;
  bool is_posted = false;
  // By the names of nodes, of which there are as many as the graph has.
  std::map<std::string, block::QuorumBadChild> bad_children;
  std::map<std::string, block::QuorumFailure> failed_nodes;
};

QuorumEvents::QuorumEvents() : reports_(std::make_shared<Reports>()) {}

QuorumEvents::~QuorumEvents() = default;

void QuorumEvents::open(aio::Reactor& reactor, qmp::EventQueue& events) {
  const std::lock_guard lock(reports_->mutex);
  reports_->reactor = &reactor;
  reports_->events = &events;
}

void QuorumEvents::close() {
  const std::lock_guard lock(reports_->mutex);
  reports_->reactor = nullptr;
  reports_->events = nullptr;
}

void QuorumEvents::child_is_bad(block::QuorumBadChild report) {
  const std::lock_guard lock(reports_->mutex);
  if (reports_->reactor == nullptr) return;
  std::string name = report.node_name;
  reports_->bad_children.insert_or_assign(std::move(name), std::move(report));
  reports_->post();
}

void QuorumEvents::request_failed(block::QuorumFailure report) {
  const std::lock_guard lock(reports_->mutex);
  if (reports_->reactor == nullptr) return;
  std::string name = report.node_name;
  reports_->failed_nodes.insert_or_assign(std::move(name), std::move(report));
  reports_->post();
}

}  // namespace blockexport::control
