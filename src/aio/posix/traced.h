// is_traced(): whether somebody (strace, a debugger) stops the calling thread at what it does.
// Any thread. A few microseconds; for rare questions only.
#pragma once

namespace blockexport::aio::posix {

// False where /proc does not tell.
bool is_traced();

}  // namespace blockexport::aio::posix
