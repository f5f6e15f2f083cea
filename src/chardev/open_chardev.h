// open_chardev(): creates a chardev of the kind that its options select. Thread: the control reactor's.
#pragma once

#include "chardev/chardev.h"

namespace blockexport::chardev {

// Errors name the path or address. `reactor` and `log` outlive the chardev.
aio::Task<Result<std::unique_ptr<Chardev>>> open_chardev(aio::Reactor& reactor, const Log& log, std::string label,
                                                         Options options);

}  // namespace blockexport::chardev
