// Making chardevs: what chardev-add and the option --chardev share.
#pragma once

#include <string>

#include "chardev/chardev.h"

namespace blockexport::control {

class Control;

// Errors: an id in use; what cannot be opened.
aio::Task<Result<>> add_chardev(Control& control, std::string id, chardev::Options options);

}  // namespace blockexport::control
