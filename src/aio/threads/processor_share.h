// The processors of the machine, and the share of them that this process may use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace blockexport::aio {

// Processors that this process may run on; at least 1.
std::uint32_t usable_processors();

// True if the machine has more than one processor, and no cgroup of this process has a quota of less than one: else
// polling takes processor time from the clients, or from the process's own later requests. It reads a few files of
// /proc and /sys, where cgroups of version 2 or the controller "cpu" of version 1 are mounted as usual; for the start
// of the process.
bool has_processor_to_poll();

// The quota of a cpu.max file as a part of one processor; nothing for "max" and for other texts.
std::optional<double> quota_of(std::string_view cpu_max);
// The same of version 1, from its two files; nothing for a quota of -1.
std::optional<double> quota_of(std::string_view quota_us, std::string_view period_us);

// The path of a process's cgroup from the text of its /proc/PID/cgroup, without a slash at its end. `controller`: of
// version 1; empty: version 2. Nothing if it has none.
std::optional<std::string> cgroup_of(std::string_view text, std::string_view controller);

}  // namespace blockexport::aio
