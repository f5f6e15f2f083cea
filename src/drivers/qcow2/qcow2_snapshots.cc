#include "drivers/qcow2/qcow2_snapshots.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

#include "aio/threads/long_slice.h"
#include "base/error.h"
#include "drivers/qcow2/snapshots/snapshot_change.h"
#include "drivers/qcow2/snapshots/snapshot_release.h"

namespace blockexport::drivers::qcow2 {

Result<> Qcow2Snapshots::check_support() const {
  // The clusters of a data file have no refcounts.
  if (image_.geometry().data_file) return fail("Operation not supported");
  return {};
}

std::vector<block::ImageSnapshot> Qcow2Snapshots::list() const {
  std::vector<block::ImageSnapshot> list;
  std::vector<Snapshot> all = image_.content().snapshots.snapshots;
  if (pending_) all.push_back(*pending_);
  for (const Snapshot& one : all) {
    block::ImageSnapshot& shown = list.emplace_back(block::ImageSnapshot{.id = one.id,
                                                                         .name = one.name,
                                                                         .date_seconds = one.date_seconds,
                                                                         .date_nanoseconds = one.date_nanoseconds,
                                                                         .vm_clock_ns = one.vm_clock_ns,
                                                                         .vm_state_bytes = one.vm_state_bytes});
    if (one.instruction_count != kNoInstructionCount) shown.instruction_count = one.instruction_count;
  }
  return list;
}

std::vector<Snapshot>::iterator Qcow2Snapshots::find(const std::string& id) {
  return std::ranges::find(snapshots(), id, &Snapshot::id);
}

// One more than the largest number among the IDs.
std::string Qcow2Snapshots::next_id() {
  std::uint64_t largest = 0;
  for (const Snapshot& one : snapshots()) {
    std::uint64_t number = 0;
    std::from_chars(one.id.data(), one.id.data() + one.id.size(), number);
    if (number < UINT64_MAX) largest = std::max(largest, number);
  }
  return fmt::format("{}", largest + 1);
}

Error Qcow2Snapshots::refusal(Errno error) {
  Error refused(std::system_category().message(error.value()));
  if (error != Errno(EINVAL)) return refused;
  return std::move(refused).with_hint(
      fmt::format("A cluster of the image has as many references as its refcounts of {} bits can count.",
                  1u << image_.geometry().refcount_order));
}

aio::Task<Result<>> Qcow2Snapshots::prepare() {
  if (image_.image_writer() == nullptr) co_return fail("The image is read-only");
  if (!image_.is_prepared()) {
    if (const IoResult prepared = co_await image_.prepare(); !prepared) {
      co_return fail(Error::system("Could not prepare the image for changes", prepared.error()));
    }
  }
  if (image_.image_writer()->is_corrupt()) co_return fail("The image is corrupt");
  co_return Result<>();
}

void Qcow2Snapshots::note_l1() {
  image_.content().header.l1_offset = parts().metadata.l1_offset();
}

aio::Task<Result<std::string>> Qcow2Snapshots::begin(block::ImageSnapshot snapshot) {
  CO_TRY(check_support());
  CO_TRY(co_await prepare());
  if (pending_) CO_TRY(co_await finish(pending_->id));
  if (snapshots().size() >= kSnapshotsMax) co_return fail(refusal(Errno(EFBIG)));
  if (const IoResult flushed = co_await image_.image_writer()->flush(); !flushed)
    co_return fail(refusal(flushed.error()));
  if (parts().tables.is_dirty()) co_return fail("The image has changes that are not in it");
  frozen_ = std::make_unique<FrozenState>(parts(), step_bytes_);
  parts().thawing = frozen_.get();
  co_await frozen_->freeze();
  pending_ = Snapshot{.id = next_id(),
                      .name = std::move(snapshot.name),
                      .date_seconds = snapshot.date_seconds,
                      .date_nanoseconds = snapshot.date_nanoseconds,
                      .vm_clock_ns = snapshot.vm_clock_ns,
                      .disk_bytes = image_.shown_bytes(),
                      .instruction_count = snapshot.instruction_count.value_or(kNoInstructionCount)};
  // Nothing is counted yet, and the error comes before anything happens.
  const bool has_tables = std::ranges::any_of(frozen_->l1(), [](std::uint64_t offset) { return offset != 0; });
  if (has_tables && image_.geometry().refcount_max() == 1) {
    (void)co_await cancel(pending_->id);
    co_return fail(refusal(Errno(EINVAL)));
  }
  co_return pending_->id;
}

aio::Task<IoResult> Qcow2Snapshots::store_pending() {
  CO_TRY(co_await frozen_->share_all());
  note_l1();
  CO_TRY_ASSIGN(const std::uint64_t l1_offset, co_await write_snapshot_l1(parts(), frozen_->l1()));
  std::vector<Snapshot> all = snapshots();
  all.push_back(*pending_);
  all.back().l1_offset = l1_offset;
  all.back().l1_entries = static_cast<std::uint32_t>(frozen_->l1().size());
  ImageContent& content = image_.content();
  const IoResult written =
      co_await write_snapshot_table(parts(), std::move(all), content.header, content.snapshots, is_pending_certain_);
  if (!written && is_pending_certain_) {
    const std::lock_guard lock(parts().tables.mutex());
    free_clusters(parts(), l1_offset, frozen_->l1().size() * sizeof(std::uint64_t));
  }
  co_return written;
}

aio::Task<Result<>> Qcow2Snapshots::finish(std::string id) {
  if (!is_pending(id)) co_return Result<>();
  const aio::LongSlice slice;
  if (const IoResult stored = co_await store_pending(); !stored) co_return fail(refusal(stored.error()));
  pending_.reset();
  // Clusters of the former table become available.
  (void)co_await image_.image_writer()->flush();
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Snapshots::cancel(std::string id) {
  if (!is_pending(id)) co_return co_await remove(std::move(id));
  if (!std::exchange(is_pending_certain_, true)) {
    // The image may have it, so that its clusters must stay: all of them are counted.
    pending_.reset();
    co_return fail("The clusters of a snapshot are not freed, as the image may refer to it after an error");
  }
  const aio::LongSlice slice;
  co_await frozen_->abandon();
  const IoResult released = co_await release_snapshot(parts(), frozen_->shared(), step_bytes_);
  note_l1();
  pending_.reset();
  (void)co_await image_.image_writer()->flush();
  if (!released) co_return fail(Error::system("Failed to free the clusters of a snapshot", released.error()));
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Snapshots::remove(std::string id) {
  CO_TRY(co_await prepare());
  const auto found = find(id);
  if (found == snapshots().end()) co_return fail("No such file or directory");
  const Snapshot snapshot = *found;
  const auto l1 = co_await read_snapshot_l1(parts(), snapshot);
  if (!l1) co_return fail(Error::system("Failed to read the L1 table of the snapshot", l1.error()));
  std::vector<Snapshot> others = snapshots();
  others.erase(others.begin() + (found - snapshots().begin()));
  ImageContent& content = image_.content();
  bool is_certain = true;
  const IoResult written =
      co_await write_snapshot_table(parts(), std::move(others), content.header, content.snapshots, is_certain);
  if (!written) co_return fail(Error::system("Failed to remove the snapshot from the snapshot list", written.error()));
  const aio::LongSlice slice;
  const IoResult released = co_await release_snapshot(parts(), *l1, step_bytes_);
  note_l1();
  if (!released) co_return fail(Error::system("Failed to free the clusters of the snapshot", released.error()));
  {
    const std::lock_guard lock(parts().tables.mutex());
    free_clusters(parts(), snapshot.l1_offset, l1->size() * sizeof(std::uint64_t));
  }
  (void)co_await image_.image_writer()->flush();
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Snapshots::apply(std::string id) {
  CO_TRY(check_support());
  CO_TRY(co_await prepare());
  const auto found = find(id);
  if (found == snapshots().end()) co_return fail("No such file or directory");
  const Snapshot snapshot = *found;
  if (const IoResult flushed = co_await image_.image_writer()->flush(); !flushed)
    co_return fail(refusal(flushed.error()));
  auto l1 = co_await read_snapshot_l1(parts(), snapshot);
  if (!l1) co_return fail(Error::system("Failed to read the L1 table of the snapshot", l1.error()));
  std::vector<std::uint64_t> before(parts().tables.l1_size());
  for (std::uint64_t i = 0; i < before.size(); ++i) before[i] = parts().tables.l1_entry(i) & kEntryOffsetMask;
  const std::uint64_t before_offset = parts().metadata.l1_offset();
  const IoResult applied =
      co_await apply_snapshot(parts(), std::move(*l1), snapshot.disk_bytes, image_.content().header);
  if (!applied) co_return fail(refusal(applied.error()));
  CO_TRY(co_await image_.reload());
  CO_TRY(co_await prepare());
  const IoResult released = co_await release_former_disk(parts(), before);
  if (!released) co_return fail(Error::system("Failed to free the clusters of the former state", released.error()));
  {
    const std::lock_guard lock(parts().tables.mutex());
    free_clusters(parts(), before_offset, before.size() * sizeof(std::uint64_t));
  }
  (void)co_await image_.image_writer()->flush();
  co_return Result<>();
}

}  // namespace blockexport::drivers::qcow2
