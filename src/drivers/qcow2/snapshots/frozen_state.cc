#include "drivers/qcow2/snapshots/frozen_state.h"

#include <algorithm>

#include "aio/task/current.h"
#include "base/error.h"
#include "drivers/qcow2/file/table_turns.h"
#include "drivers/qcow2/snapshots/table_exchange.h"

namespace blockexport::drivers::qcow2 {

using block::RangeLock;

aio::Task<void> FrozenState::freeze() {
  ImageTables& tables = parts_.tables;
  l1_.resize(tables.l1_size());
  {
    const std::lock_guard lock(tables.mutex());
    tables.begin_freezing();
  }
  for (std::uint64_t begin = 0; begin < l1_.size(); begin += kTableEntriesPerTurn) {
    co_await aio::next_turn();
    const std::lock_guard lock(tables.mutex());
    const std::uint64_t end = std::min<std::uint64_t>(l1_.size(), begin + kTableEntriesPerTurn);
    for (std::uint64_t i = begin; i < end; ++i) {
      if (tables.freeze(i)) l1_[i] = tables.l1_entry(i) & kEntryOffsetMask;
    }
  }
}

std::vector<std::uint64_t> FrozenState::frozen_between(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::uint64_t> indices;
  const std::lock_guard lock(parts_.tables.mutex());
  for (std::uint64_t i = begin; i < end; ++i) {
    if (parts_.tables.is_frozen(i)) indices.push_back(i);
  }
  return indices;
}

// Afterwards none of these tables is frozen.
aio::Task<IoResult> FrozenState::share(std::uint64_t begin, std::uint64_t end) {
  RangeLock::Hold hold(steps_, co_await aio::current_reactor(), {begin, end - begin}, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  std::vector<std::uint64_t> indices = frozen_between(begin, end);
  while (!indices.empty() && failure_.load() == 0) {
    TableSharing work(parts_, indices);
    const IoResult result = co_await parts_.metadata.commit_with(work);
    int none = 0;
    if (!result) failure_.compare_exchange_strong(none, result.error().value());
    indices = frozen_between(begin, end);
  }
  if (failure_.load() == 0) co_return IoResult();
  // There will be no snapshot that needs their bytes.
  const std::lock_guard lock(parts_.tables.mutex());
  for (const std::uint64_t i : indices) {
    if (!parts_.tables.is_frozen(i)) continue;
    lost_.push_back(i);
    parts_.tables.thaw(i, parts_.tables.l1_entry_for_image(i));
  }
  co_return fail(failure_.load());
}

aio::Task<IoResult> FrozenState::share_all() {
  const std::uint64_t at_once = std::max<std::uint64_t>(1, step_bytes_ >> parts_.geometry().cluster_bits);
  for (std::uint64_t begin = 0; begin < l1_.size();) {
    // Long runs without tables are passed at once.
    std::uint64_t end = begin;
    while (end < l1_.size() && l1_[end] == 0 && end - begin < kTableEntriesPerTurn) ++end;
    if (end == begin) {
      end = std::min<std::uint64_t>(l1_.size(), begin + at_once);
      CO_TRY(co_await share(begin, end));
    }
    begin = end;
    co_await aio::next_turn();
  }
  if (const int failure = failure_.load(); failure != 0) co_return fail(failure);
  co_return IoResult();
}

aio::Task<void> FrozenState::abandon() {
  int none = 0;
  failure_.compare_exchange_strong(none, ECANCELED);
  for (std::uint64_t begin = 0; begin < l1_.size(); begin += kTableEntriesPerTurn) {
    (void)co_await share(begin, std::min<std::uint64_t>(l1_.size(), begin + kTableEntriesPerTurn));
    co_await aio::next_turn();
  }
  shared_ = l1_;
  const std::lock_guard lock(parts_.tables.mutex());
  for (const std::uint64_t index : lost_) shared_[index] = 0;
}

aio::Task<void> FrozenState::thaw(std::uint64_t l1_index) {
  (void)co_await share(l1_index, l1_index + 1);
}

}  // namespace blockexport::drivers::qcow2
