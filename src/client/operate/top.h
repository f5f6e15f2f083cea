// `blockexport top`: the rates of exports and clients of a running daemon, again and again.
//
// Main thread. Each sample uses a connection of its own, so that other tools get their turn at the monitor.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::operate {

inline constexpr std::uint32_t kTopIntervalSecondsMax = 3600;

struct TopOptions {
  monitor::MonitorOptions monitor = {};
  std::uint32_t interval_seconds = 1;
  std::uint32_t count = 0;  // of tables; 0: until a signal, or the key q
};

// Ends without an error when a signal, the key q or the end of its reader asks for it.
Result<> show_top(const TopOptions& options);

}  // namespace blockexport::operate
