// AnnouncedChanges: changes of a node that its listeners know of and that have not ended, for assertions.
//
// In a build with assertions every node records them, so that every test detects a path that changes bytes without an
// announcement; in other builds it is empty. Thread: any.
#pragma once

#ifndef NDEBUG
#include <algorithm>
#include <cassert>
#include <mutex>
#include <vector>
#endif

#include "block/change_listener.h"

namespace blockexport::block {

#ifdef NDEBUG

class AnnouncedChanges {
 public:
  void begin(const Change&) {}
  void end(const Change&) {}
};

#else

class AnnouncedChanges {
 public:
  void begin(const Change& change) {
    std::lock_guard guard(mutex_);
    ranges_.push_back(change.range);
  }
  void end(const Change& change) {
    std::lock_guard guard(mutex_);
    auto found = std::ranges::find(ranges_, change.range);
    assert(found != ranges_.end());
    ranges_.erase(found);
  }
  // True if one of them covers all of `range`.
  bool cover(Range range) const {
    std::lock_guard guard(mutex_);
    return std::ranges::any_of(
        ranges_, [&](const Range& one) { return one.offset <= range.offset && range.end() <= one.end(); });
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Range> ranges_;
};

#endif

}  // namespace blockexport::block
