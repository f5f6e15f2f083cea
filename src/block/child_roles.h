// ChildRoles: uses that a driver makes of a child: for its data, for its metadata, as the filtered node, or as backing.
//
// An edge has a name, that of the schema ("file", "backing", "target"), and these roles, so that code can check roles
// instead of the names of drivers and children. Plain values; any thread.
#pragma once

#include <cstdint>

namespace blockexport::block {

enum class ChildRole : std::uint8_t {
  kData,      // the child contains bytes that the driver shows
  kMetadata,  // the child contains the driver's metadata
  kFiltered,  // the driver shows the child's bytes at the same offsets; a driver has at most one such child
  kBacking,   // the child supplies the bytes that the driver does not contain; at most one
};

class ChildRoles {
 public:
  constexpr ChildRoles() = default;
  constexpr ChildRoles(ChildRole role)  // NOLINT(google-explicit-constructor): a set of one
      : bits_(static_cast<std::uint8_t>(1u << static_cast<unsigned>(role))) {}

  constexpr bool has(ChildRole role) const { return (bits_ & ChildRoles(role).bits_) != 0; }
  // True if the child contains the driver's own image, in whole or in part.
  constexpr bool holds_image() const {
    return has(ChildRole::kData) || has(ChildRole::kMetadata) || has(ChildRole::kFiltered);
  }

  friend constexpr ChildRoles operator|(ChildRoles a, ChildRoles b) {
    ChildRoles both;
    both.bits_ = a.bits_ | b.bits_;
    return both;
  }
  friend constexpr bool operator==(ChildRoles, ChildRoles) = default;

 private:
  std::uint8_t bits_ = 0;
};

constexpr ChildRoles operator|(ChildRole a, ChildRole b) {
  return ChildRoles(a) | ChildRoles(b);
}

}  // namespace blockexport::block
