// Trace: named events at the boundaries of the layers, each switched on by name and written as a line "NAME details".
//
// One object, created by main(), configured by --trace during start-up, and reached through the Log. An event that is
// off costs the load of a byte and no allocation. docs/tracing.md lists the names. Lines are written by a thread, so no
// caller waits (base/log_channel.h). Thread: is_on(), write(), note() and flush(): any; the others: main, before other
// threads run.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/log_channel.h"

namespace blockexport {

enum class TraceEvent {
  kBlockExportAdded,
  kBlockExportRemoved,
  kBlockNodeClosed,
  kBlockNodeOpened,
  kDaemonServing,
  kNbdClientConnected,
  kNbdClientLeft,
  kNbdClientNegotiated,
  kNbdClientStalled,
  kNbdRequestBegin,
  kNbdRequestEnd,
  kQmpCommandBegin,
  kQmpCommandEnd,
};

class Trace {
 public:
  // In the order of TraceEvent.
  static constexpr std::array<std::string_view, 13> kNames{
      "block_export_added", "block_export_removed", "block_node_closed", "block_node_opened",
      "daemon_serving",     "nbd_client_connected", "nbd_client_left",   "nbd_client_negotiated",
      "nbd_client_stalled", "nbd_request_begin",    "nbd_request_end",   "qmp_command_begin",
      "qmp_command_end"};

  // All events are off; lines are discarded.
  constexpr Trace() = default;
  // All events are off; lines go to `channel`, which outlives the Trace. Formats other than text name the program.
  explicit Trace(LogChannel& channel, std::string_view program_name = {})
      : channel_(&channel), program_name_(program_name) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  bool is_on(TraceEvent event) const { return on_[static_cast<std::size_t>(event)].load(std::memory_order_relaxed); }
  // Writes a line even when the event is off. Control bytes become \xNN.
  void write(TraceEvent event, std::string_view details) const;
  // Writes the concatenated parts as one line if the event is on.
  void note(TraceEvent event, std::initializer_list<std::string_view> parts) const {
    if (is_on(event)) [[unlikely]]
      write_parts(event, parts);
  }

  // Switches on every event that `pattern` matches (with '*' and '?'), or off when a '-' stands before it. False: it
  // has no '*' and names no event.
  bool apply(std::string_view pattern);
  // Truncates the file and writes all further lines to it, through a channel of its own. Errors: "Error opening logfile
  // F: ...".
  Result<> write_to_file(const std::string& path);
  // Waits until all earlier lines are written, at most kLogFlushNs.
  void flush() const;

 private:
  void write_parts(TraceEvent event, std::initializer_list<std::string_view> parts) const;

  std::array<std::atomic<bool>, kNames.size()> on_{};
  LogChannel* channel_ = nullptr;
  std::string program_name_;
  std::unique_ptr<LogChannel> file_;
};

}  // namespace blockexport
