// PermissionTotals: combined permissions of all users of a node, kept as counts.
//
// Counts make the cost of changing one edge independent of the number of edges of a node. Owned by its Node and changed
// by the Edges that lead there. Plain values; thread: the control reactor.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>

#include "block/permissions.h"

namespace blockexport::block {

class PermissionTotals {
 public:
  void add(const Permissions& one) { change(one, 1); }
  // `one` was added before.
  void remove(const Permissions& one) { change(one, -1); }

  // The permissions that any of them uses, and those that all of them share.
  Permissions together() const {
    Permissions all;
    for (Permission permission : kAllPermissions) {
      const Count& count = of(permission);
      if (count.users > 0) all.used = all.used | permission;
      if (count.withholders > 0) all.shared = all.shared - permission;
    }
    return all;
  }

  // True if no user uses a permission that another one does not share.
  bool get_along() const {
    for (Permission permission : kAllPermissions) {
      const Count& count = of(permission);
      // Pairs of a user and a non-sharer, without those of one and the same edge.
      if (count.users * count.withholders > count.both) return false;
    }
    return true;
  }

  // True if an edge other than `one`, which was added, uses a permission that `one` does not share.
  bool withholds_from_another(const Permissions& one) const {
    for (Permission permission : kAllPermissions) {
      if (one.shared.has(permission)) continue;
      if (of(permission).users > (one.used.has(permission) ? 1 : 0)) return true;
    }
    return false;
  }

 private:
  struct Count {
    std::int64_t users = 0;
    std::int64_t withholders = 0;  // number of edges that do not share it
    std::int64_t both = 0;
  };

  const Count& of(Permission permission) const { return counts_[static_cast<std::size_t>(permission)]; }

  void change(const Permissions& one, std::int64_t by) {
    for (Permission permission : kAllPermissions) {
      Count& count = counts_[static_cast<std::size_t>(permission)];
      const bool uses = one.used.has(permission);
      const bool withholds = !one.shared.has(permission);
      if (uses) count.users += by;
      if (withholds) count.withholders += by;
      if (uses && withholds) count.both += by;
      assert(count.users >= 0 && count.withholders >= 0 && count.both >= 0);
    }
  }

  std::array<Count, kAllPermissions.size()> counts_;
};

}  // namespace blockexport::block
