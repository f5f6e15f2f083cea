// The processors of the machine, and the share of them that this process may use.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace blockexport::aio {

// Processors that this process may run on; at least 1.
std::uint32_t usable_processors();

// True if the machine has more than one processor, and no cgroup (version 2) of this process has a quota of less than
// one: else polling takes processor time from the clients, or from the process's own later requests. It reads a few
// files of /proc and /sys; for the start of the process.
bool has_processor_to_poll();

// The quota of a cpu.max file as a part of one processor; nothing for "max" and for other texts.
std::optional<double> quota_of(std::string_view cpu_max);

}  // namespace blockexport::aio
