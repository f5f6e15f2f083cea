#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace blockexport {

std::string_view error_class_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kGeneric:
      return "GenericError";
    case ErrorKind::kCommandNotFound:
      return "CommandNotFound";
    case ErrorKind::kDeviceNotActive:
      return "DeviceNotActive";
    case ErrorKind::kDeviceNotFound:
      return "DeviceNotFound";
  }
  __builtin_unreachable();
}

Error::Error(ErrorKind kind, std::string message)
    : detail_(new Detail{.kind = kind, .message = std::move(message), .hint = {}, .is_busy = false}) {}

Error Error::system(std::string message, Errno cause) {
  message += ": ";
  message += errno_text(cause);
  Error error(std::move(message));
  error.detail_->is_busy = cause == Errno(EADDRINUSE);
  return error;
}

Error&& Error::with_hint(std::string hint) && {
  detail_->hint = std::move(hint);
  return std::move(*this);
}

Error&& Error::with_prefix(std::string_view prefix) && {
  detail_->message.insert(0, prefix);
  return std::move(*this);
}

Error&& Error::as_busy() && {
  detail_->is_busy = true;
  return std::move(*this);
}

Error Error::clone() const {
  Error copy(detail_->kind, detail_->message);
  copy.detail_->hint = detail_->hint;
  copy.detail_->is_busy = detail_->is_busy;
  return copy;
}

std::string errno_text(Errno error) {
  char buffer[128];
  return strerror_r(error.value(), buffer, sizeof buffer);
}

}  // namespace blockexport
