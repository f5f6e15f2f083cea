#include "base/error.h"

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
    : detail_(new Detail{.kind = kind, .message = std::move(message), .hint = {}}) {}

Error Error::system(std::string message, Errno cause) {
  message += ": ";
  message += errno_text(cause);
  return Error(std::move(message));
}

Error&& Error::with_hint(std::string hint) && {
  detail_->hint = std::move(hint);
  return std::move(*this);
}

Error&& Error::with_prefix(std::string_view prefix) && {
  detail_->message.insert(0, prefix);
  return std::move(*this);
}

Error Error::clone() const {
  Error copy(detail_->kind, detail_->message);
  copy.detail_->hint = detail_->hint;
  return copy;
}

std::string errno_text(Errno error) {
  char buffer[128];
  return strerror_r(error.value(), buffer, sizeof buffer);
}

}  // namespace blockexport
