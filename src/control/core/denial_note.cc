#include "control/core/denial_note.h"

#include <cerrno>
#include <utility>

namespace blockexport::control {

Error with_denial_note(Error error, const std::string& note) {
  if (note.empty()) return error;
  const std::string& message = error.message();
  if (!message.ends_with(errno_text(Errno(EACCES))) && !message.ends_with(errno_text(Errno(EPERM)))) return error;
  Error noted(error.kind(), message + " (" + note + ")");
  return std::move(noted).with_hint(error.hint());
}

}  // namespace blockexport::control
