// is_traced(): whether a tracer (strace, a debugger) is attached to the calling thread. Any thread. It takes a few
// microseconds, so it is for rare use.
#pragma once

namespace blockexport::aio::posix {

// False when /proc is not readable.
bool is_traced();

}  // namespace blockexport::aio::posix
