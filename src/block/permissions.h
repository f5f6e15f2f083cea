// Permissions: operations that a user of a node may do, and operations that it allows others meanwhile.
//
// Every edge has a pair: the permissions that it uses, and those that it shares. Two edges to one node conflict when
// one uses a permission that the other does not share. Storage daemons and virtual machines use the bit numbers for
// their locks on image files, so they must not change. Plain values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace blockexport::block {

enum class Permission : std::uint8_t {
  kConsistentRead = 0,  // the data are consistent as of one moment
  kWrite = 1,
  kWriteUnchanged = 2,  // writes that do not change the visible data
  kResize = 3,
};

inline constexpr std::array kAllPermissions = {Permission::kConsistentRead, Permission::kWrite,
                                               Permission::kWriteUnchanged, Permission::kResize};

// Text for messages: "consistent read", "write", ...
constexpr std::string_view permission_text(Permission permission) {
  constexpr std::array<std::string_view, 4> kTexts = {"consistent read", "write", "write unchanged", "resize"};
  return kTexts[static_cast<std::size_t>(permission)];
}

class PermissionSet {
 public:
  constexpr PermissionSet() = default;
  constexpr PermissionSet(Permission permission)  // NOLINT(google-explicit-constructor): a set of one
      : bits_(static_cast<std::uint8_t>(1u << static_cast<unsigned>(permission))) {}
  static constexpr PermissionSet all() { return PermissionSet(std::uint8_t{0x0f}); }

  constexpr bool has(Permission permission) const { return (*this & permission) != PermissionSet(); }
  constexpr bool contains(PermissionSet other) const { return (bits_ & other.bits_) == other.bits_; }
  constexpr bool empty() const { return bits_ == 0; }

  friend constexpr PermissionSet operator|(PermissionSet a, PermissionSet b) {
    return PermissionSet(static_cast<std::uint8_t>(a.bits_ | b.bits_));
  }
  friend constexpr PermissionSet operator&(PermissionSet a, PermissionSet b) {
    return PermissionSet(static_cast<std::uint8_t>(a.bits_ & b.bits_));
  }
  // The members of `a` that are not in `b`.
  friend constexpr PermissionSet operator-(PermissionSet a, PermissionSet b) {
    return PermissionSet(static_cast<std::uint8_t>(a.bits_ & ~b.bits_));
  }
  friend constexpr bool operator==(PermissionSet, PermissionSet) = default;

 private:
  constexpr explicit PermissionSet(std::uint8_t bits) : bits_(bits) {}
  std::uint8_t bits_ = 0;
};

constexpr PermissionSet operator|(Permission a, Permission b) {
  return PermissionSet(a) | PermissionSet(b);
}

struct Permissions {
  PermissionSet used;
  PermissionSet shared = PermissionSet::all();

  friend constexpr bool operator==(Permissions, Permissions) = default;
};

}  // namespace blockexport::block
