// Errno: a POSIX error number as a value of its own type, and the result types of the data plane.
//
// The data plane reports failure only as an Errno: eight bytes, never allocated, mapped straight to an NBD error.
// Context (which file, which node) is added where the control plane awaits I/O: see base/error.h.
// Thread: any. Plain values.
#pragma once

#include <cerrno>
#include <cstddef>
#include <expected>

namespace blockexport {

class [[nodiscard]] Errno {
 public:
  constexpr explicit Errno(int value) : value_(value) {}

  // The current value of `errno`.
  static Errno last() { return Errno(errno); }

  // A POSIX number, greater than zero.
  constexpr int value() const { return value_; }

  friend constexpr bool operator==(Errno, Errno) = default;

 private:
  int value_;
};

// Success or an error number. The result of every data path verb.
using IoResult = std::expected<void, Errno>;

// The number of bytes moved, which may be less than requested, or an error number.
using IoCount = std::expected<std::size_t, Errno>;

inline std::unexpected<Errno> fail(int value) {
  return std::unexpected(Errno(value));
}
inline std::unexpected<Errno> fail(Errno error) {
  return std::unexpected(error);
}

}  // namespace blockexport
