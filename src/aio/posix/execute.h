// execute(): performs a file operation with blocking system calls. For worker threads.
#pragma once

#include "aio/operation/operation.h"
#include "aio/posix/system_calls.h"

namespace blockexport::aio::posix {

// Sets operation.result. Any thread; accesses only the operation. Not for kPoll.
void execute(Operation& operation, const SystemCalls& calls);

}  // namespace blockexport::aio::posix
