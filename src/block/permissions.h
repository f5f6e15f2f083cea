// Permissions: what the user of a node may do with it, and what it lets others do meanwhile.
//
// Every edge holds a pair: what it uses, and what it shares. Two edges to one node get along when neither uses what the
// other does not share. The bit numbers are those that storage daemons and virtual machines use for their locks on
// image files, so they must not change. Plain values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace blockexport::block {

enum class Permission : std::uint8_t {
  kConsistentRead = 0,  // the data read make sense as of one moment
  kWrite = 1,
  kWriteUnchanged = 2,  // writes that leave what a reader sees as it was
  kResize = 3,
};

inline constexpr std::array kAllPermissions = {Permission::kConsistentRead, Permission::kWrite,
                                               Permission::kWriteUnchanged, Permission::kResize};

// "consistent read", "write", ...: as messages say it.
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
  // What is in `a` and not in `b`.
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
