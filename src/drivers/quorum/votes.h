// Votes: groups of children that brought the same, such as the same bytes or the same error. Plain values; any thread.
#pragma once

#include <cstddef>
#include <vector>

namespace blockexport::drivers {

class Votes {
 public:
  // Counts the vote of `child`, a number below that of the children. is_same(other): whether `other`, a child that has
  // voted before, brought the same.
  template <class IsSame>
  void add(std::size_t child, IsSame is_same) {
    for (std::vector<std::size_t>& group : groups_) {
      if (!is_same(group.front())) continue;
      group.push_back(child);
      return;
    }
    groups_.push_back({child});
  }

  bool empty() const { return groups_.empty(); }
  bool is_unanimous() const { return groups_.size() == 1; }
  // In the order of their first votes.
  const std::vector<std::vector<std::size_t>>& groups() const { return groups_; }
  // The group with most votes, and the last of several. There is at least one vote.
  const std::vector<std::size_t>& winner() const {
    std::size_t best = 0;
    for (std::size_t i = 1; i < groups_.size(); ++i) {
      if (groups_[i].size() >= groups_[best].size()) best = i;
    }
    return groups_[best];
  }

 private:
  std::vector<std::vector<std::size_t>> groups_;
};

}  // namespace blockexport::drivers
