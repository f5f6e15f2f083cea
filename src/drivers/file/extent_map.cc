#include "drivers/file/extent_map.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace blockexport::drivers {

using block::Range;

std::size_t ExtentMap::run_at(const Leaf& leaf, std::uint64_t offset) {
  auto behind = std::ranges::upper_bound(leaf.runs, offset, {}, &Run::start);
  return static_cast<std::size_t>(behind - leaf.runs.begin()) - 1;
}

void ExtentMap::find(Range range, block::Extents& extents) const {
  auto leaf = leaves_.upper_bound(range.offset);
  if (leaf == leaves_.begin()) return;
  --leaf;
  const std::size_t first = extents.size();
  std::uint64_t at = range.offset;
  for (; leaf != leaves_.end() && leaf->first <= at && at < leaf->second.end && at < range.end(); ++leaf) {
    const Leaf& found = leaf->second;
    for (std::size_t i = run_at(found, at); i < found.runs.size() && at < range.end(); ++i) {
      if (!is_known(found, found.runs[i])) return;
      std::uint64_t length = std::min(found.end_of(i), range.end()) - at;
      bool data = found.runs[i].data();
      if (extents.size() > first && extents.back().data == data) {
        extents.back().length += length;
      } else if (extents.size() - first == block::kExtentsPerCallMax) {
        return;
      } else {
        extents.push_back({.length = length, .data = data, .zero = !data});
      }
      at += length;
    }
  }
}

std::uint64_t ExtentMap::known_bytes(Range range) const {
  std::uint64_t known = 0;
  auto leaf = leaves_.upper_bound(range.offset);
  if (leaf != leaves_.begin()) --leaf;
  for (; leaf != leaves_.end() && leaf->first < range.end(); ++leaf) {
    const Leaf& found = leaf->second;
    for (std::size_t i = 0; i < found.runs.size() && found.runs[i].start() < range.end(); ++i) {
      std::uint64_t start = std::max(found.runs[i].start(), range.offset);
      std::uint64_t stop = std::min(found.end_of(i), range.end());
      if (start < stop && is_known(found, found.runs[i])) known += stop - start;
    }
  }
  return known;
}

std::uint64_t ExtentMap::store(std::uint64_t offset, std::span<const aio::FileRun> runs, Holes holes) {
  std::uint64_t length = 0;
  std::uint64_t known = 0;
  for (const aio::FileRun& run : runs) {
    length += run.length;
    const bool doubted = run.kind == aio::FileRunKind::kHole && holes == Holes::kDoubted;
    if (run.kind != aio::FileRunKind::kZeros && !doubted) known += run.length;
  }
  const Range place{offset, length};
  const std::uint64_t known_before = known_bytes(place);
  forget(place);
  add_leaves(offset, runs, holes);
  shrink(place.end());
  return known - std::min(known, known_before);
}

void ExtentMap::add_leaves(std::uint64_t offset, std::span<const aio::FileRun> runs, Holes holes) {
  const Leaf none{.generation = holes == Holes::kProven ? generation_ : kDoubtedGeneration, .runs = {}};
  Leaf leaf = none;
  std::size_t runs_left = runs.size();
  for (const aio::FileRun& run : runs) {
    const bool data = run.kind == aio::FileRunKind::kData;
    const bool known = run.kind != aio::FileRunKind::kZeros;
    if (!leaf.runs.empty() && (!known || leaf.runs.size() == sizes_.leaf_runs_max)) add(std::exchange(leaf, none));
    // Doubted holes are stored only between data, where they take less memory than another leaf.
    if (data || (known && (holes == Holes::kProven || !leaf.runs.empty()))) {
      if (leaf.runs.empty()) leaf.runs.reserve(std::min(runs_left, sizes_.leaf_runs_max));
      leaf.runs.emplace_back(offset, data);
      leaf.end = offset + run.length;
    }
    offset += run.length;
    --runs_left;
  }
  if (!leaf.runs.empty()) add(std::move(leaf));
}

// bytes() counts runs, not capacity, so a leaf keeps no spare capacity. (Without exceptions shrink_to_fit() does
// nothing.)
void ExtentMap::trim_capacity(Leaf& leaf) {
  if (leaf.runs.capacity() > leaf.runs.size()) leaf.runs = std::vector<Run>(leaf.runs.begin(), leaf.runs.end());
}

void ExtentMap::add(Leaf leaf) {
  trim_capacity(leaf);
  run_count_ += leaf.runs.size();
  std::uint64_t start = leaf.runs.front().start();
  [[maybe_unused]] bool added = leaves_.emplace(start, std::move(leaf)).second;
  assert(added);
}

ExtentMap::Leaves::iterator ExtentMap::remove(Leaves::iterator leaf) {
  run_count_ -= leaf->second.runs.size();
  return leaves_.erase(leaf);
}

void ExtentMap::forget(Range range) {
  auto leaf = leaves_.lower_bound(range.offset);
  if (leaf != leaves_.begin() && std::prev(leaf)->second.end > range.offset) --leaf;
  while (leaf != leaves_.end() && leaf->first < range.end()) leaf = cut(leaf, range);
}

ExtentMap::Leaves::iterator ExtentMap::cut(Leaves::iterator leaf, Range range) {
  Leaf& whole = leaf->second;
  Leaf rest{.end = whole.end, .generation = whole.generation, .runs = {}};
  if (whole.end > range.end()) {
    std::size_t index = run_at(whole, range.end());
    rest.runs.assign(whole.runs.begin() + static_cast<std::ptrdiff_t>(index), whole.runs.end());
    rest.runs.front() = Run(range.end(), rest.runs.front().data());
  }
  Leaves::iterator next;
  if (leaf->first < range.offset) {
    std::size_t kept = run_at(whole, range.offset - 1) + 1;
    run_count_ -= whole.runs.size() - kept;
    whole.runs.erase(whole.runs.begin() + static_cast<std::ptrdiff_t>(kept), whole.runs.end());
    trim_capacity(whole);
    whole.end = range.offset;
    next = std::next(leaf);
  } else {
    next = remove(leaf);
  }
  if (!rest.runs.empty()) add(std::move(rest));
  return next;
}

void ExtentMap::clear() {
  leaves_.clear();
  run_count_ = 0;
}

void ExtentMap::shrink(std::uint64_t near) {
  while (bytes() > sizes_.bytes_max) {
    auto last = std::prev(leaves_.end());
    std::uint64_t before = near - std::min(near, leaves_.begin()->first);
    std::uint64_t behind = last->first - std::min(near, last->first);
    remove(before >= behind ? leaves_.begin() : last);
  }
}

}  // namespace blockexport::drivers
