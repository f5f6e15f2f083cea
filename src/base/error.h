// Error: an error message for a person, with a hint and a QMP class; and Result<T>, the return type of the control
// plane.
//
// An Error says what happened to which thing (message) and, where it helps, what to do (hint, printed on the command
// line only). Its kind decides the QMP error class. One pointer wide, so Result<T> stays small.
// Thread: any; an Error has one owner.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "base/errno.h"

namespace blockexport {

enum class ErrorKind {
  kGeneric,          // QMP GenericError
  kCommandNotFound,  // QMP CommandNotFound
  kDeviceNotActive,  // QMP DeviceNotActive
  kDeviceNotFound,   // QMP DeviceNotFound
};

// The QMP class of a kind: "GenericError", ...
std::string_view error_class_name(ErrorKind kind);

class [[nodiscard]] Error {
 public:
  explicit Error(std::string message) : Error(ErrorKind::kGeneric, std::move(message)) {}
  Error(ErrorKind kind, std::string message);

  // "MESSAGE: STRERROR", for a system call that failed; `message` names the object it was applied to. EADDRINUSE makes
  // the error busy.
  static Error system(std::string message, Errno cause);

  ErrorKind kind() const { return detail_->kind; }
  const std::string& message() const { return detail_->message; }
  const std::string& hint() const { return detail_->hint; }
  // Another process holds the resource (an address, a lock) and may release it at any moment: the kernel, for example,
  // keeps the locks of a killed process for a little longer than the process. A caller that can wait may try again.
  bool is_busy() const { return detail_->is_busy; }

  // One or more lines, without a final newline; never sent over QMP.
  Error&& with_hint(std::string hint) &&;
  // The same error with `prefix` put before its message.
  Error&& with_prefix(std::string_view prefix) &&;

  // The same error, marked as busy.
  Error&& as_busy() &&;

  // For tests and for state that is shown more than once.
  Error clone() const;

 private:
  struct Detail {
    ErrorKind kind;
    std::string message;
    std::string hint;
    bool is_busy = false;
  };
  std::unique_ptr<Detail> detail_;
};

template <class T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}
inline std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error(std::move(message)));
}

// strerror() as a string, thread-safe.
std::string errno_text(Errno error);

}  // namespace blockexport

// Statement macros for early return. In a coroutine use the CO_ forms. `expression` is evaluated once.
//   TRY(do_it());                       any expected; its value is dropped
//   TRY_ASSIGN(auto value, make_it());  the value on success
#define BLOCKEXPORT_CONCAT_INNER(a, b) a##b
#define BLOCKEXPORT_CONCAT(a, b) BLOCKEXPORT_CONCAT_INNER(a, b)
#define BLOCKEXPORT_TRY(return_word, expression)                                   \
  do {                                                                             \
    auto try_result_ = (expression);                                               \
    if (!try_result_) return_word std::unexpected(std::move(try_result_).error()); \
  } while (false)
#define BLOCKEXPORT_TRY_ASSIGN(return_word, name, target, expression) \
  auto name = (expression);                                           \
  if (!name) return_word std::unexpected(std::move(name).error());    \
  target = std::move(name).value()

#define TRY(expression) BLOCKEXPORT_TRY(return, expression)
#define CO_TRY(expression) BLOCKEXPORT_TRY(co_return, expression)
#define TRY_ASSIGN(target, expression) \
  BLOCKEXPORT_TRY_ASSIGN(return, BLOCKEXPORT_CONCAT(try_result_, __COUNTER__), target, expression)
#define CO_TRY_ASSIGN(target, expression) \
  BLOCKEXPORT_TRY_ASSIGN(co_return, BLOCKEXPORT_CONCAT(try_result_, __COUNTER__), target, expression)
