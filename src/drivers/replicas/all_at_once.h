// all_at_once(): runs tasks beside each other, and waits until all have ended.
//
// For a driver that sends a request to several children. The tasks run on the reactor of the caller and are not
// cancelled with it: each ends when its request to storage does.
#pragma once

#include <vector>

#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::drivers {

// The results are in the order of the tasks. `name` is static text, the name of the tasks. Objects to which the tasks
// refer outlive the await.
aio::Task<std::vector<IoResult>> all_at_once(const char* name, std::vector<aio::Task<IoResult>> tasks);

}  // namespace blockexport::drivers
