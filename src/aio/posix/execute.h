// execute(): performs a file operation with plain system calls, waiting as long as it takes. For worker threads.
#pragma once

#include "aio/operation.h"
#include "aio/posix/system_calls.h"

namespace blockexport::aio::posix {

// Sets operation.result. Any thread; touches nothing but the operation. Not for kPoll.
void execute(Operation& operation, const SystemCalls& calls);

}  // namespace blockexport::aio::posix
