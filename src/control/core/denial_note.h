// Note about the sandbox in the errors of commands: without it, "Permission denied" does not tell that the daemon
// itself gave the permission up. A plain function; any thread.
#pragma once

#include <string>

#include "base/error.h"

namespace blockexport::control {

// `error`, with `note` behind a message that ends with EACCES's or EPERM's text; as it is when `note` is empty.
Error with_denial_note(Error error, const std::string& note);

}  // namespace blockexport::control
