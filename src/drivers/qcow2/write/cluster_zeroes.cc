#include "drivers/qcow2/write/cluster_zeroes.h"

#include <algorithm>

#include "aio/task/current.h"
#include "base/error.h"
#include "drivers/qcow2/map/guest_run.h"
#include "drivers/qcow2/write/table_changes.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Range;

enum class Purpose : std::uint8_t { kZero, kZeroAndUnmap, kDiscard, kForget };

// The entry of a cluster afterwards, and the host clusters that it gives up.
struct Changed {
  L2Entry entry;
  FreedRun freed = {};
  bool unmap_in_place = false;  // the host cluster stays, and its bytes do not matter any more
};

class Clearing {
 public:
  Clearing(ImageParts& parts, const WritePolicy& policy, Purpose purpose)
      : parts_(parts), policy_(policy), purpose_(purpose) {}

  // Whole clusters, and subclusters at the ends.
  aio::Task<IoResult> run(Range range);

 private:
  bool is_clear(std::uint64_t cluster) const;
  aio::Task<IoResult> clear_step(Range clusters, Range range);
  Changed change_whole(const L2Entry& old) const;
  std::expected<Changed, Errno> change_part(const L2Entry& old, unsigned first, unsigned count) const;
  std::expected<Changed, Errno> change(std::uint64_t cluster, const L2Entry& old, Range range) const;
  L2Entry cleared(const ClusterPlace& place) const;
  aio::Task<IoResult> unmap_in_place(std::span<const std::uint64_t> host_offsets);

  const Geometry& geometry() const { return parts_.geometry(); }

  ImageParts& parts_;
  const WritePolicy& policy_;
  Purpose purpose_;
};

aio::Task<IoResult> Clearing::run(Range range) {
  const std::uint64_t first = geometry().cluster_of(range.offset);
  const std::uint64_t end = geometry().cluster_of(range.end() - 1) + 1;
  const std::uint64_t entries = parts_.tables.cache().entries_per_slice();
  for (std::uint64_t cluster = first; cluster < end;) {
    if (parts_.metadata.should_commit()) CO_TRY(co_await parts_.metadata.commit());
    // A discard changes nothing in a table that is not allocated.
    const std::uint64_t step = is_clear(cluster) ? geometry().l2_entries() : entries;
    const Range clusters{cluster, std::min(end, cluster - cluster % step + step) - cluster};
    if (step == entries) CO_TRY(co_await clear_step(clusters, range));
    cluster += clusters.length;
    if (cluster < end) co_await aio::next_turn();
  }
  co_return IoResult();
}

// True if the cluster has no L2 table, and needs none.
bool Clearing::is_clear(std::uint64_t cluster) const {
  const bool has_table = (parts_.tables.l1_entry(geometry().l1_index(cluster)) & kEntryOffsetMask) != 0;
  return !has_table && (purpose_ == Purpose::kForget || (purpose_ == Purpose::kDiscard && !parts_.guest.has_backing()));
}

// One slice of an L2 table.
aio::Task<IoResult> Clearing::clear_step(Range clusters, Range range) {
  const unsigned bits = geometry().cluster_bits;
  aio::Reactor& reactor = co_await aio::current_reactor();
  block::RangeLock::Hold hold(parts_.changes, reactor, {clusters.offset << bits, clusters.length << bits},
                              block::RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  const ClusterPins::Pin pin = parts_.pins.pin(reactor);
  co_await thaw_table(parts_, clusters.offset);
  std::vector<L2Entry> entries;
  std::vector<FreedRun> freed;
  std::vector<std::uint64_t> in_place;
  bool has_changes = false;
  for (std::uint64_t i = 0; i < clusters.length; ++i) {
    CO_TRY_ASSIGN(const L2Entry old, co_await parts_.tables.entry(clusters.offset + i));
    CO_TRY_ASSIGN(const Changed changed, change(clusters.offset + i, old, range));
    has_changes = has_changes || changed.entry != old;
    entries.push_back(changed.entry);
    if (changed.freed.clusters.count != 0) freed.push_back(changed.freed);
    if (changed.unmap_in_place) in_place.push_back(place_of(geometry(), old).host_offset);
  }
  if (has_changes) {
    CO_TRY(co_await make_table_writable(parts_, clusters.offset));
    CO_TRY(co_await set_entries(parts_, clusters.offset, entries, freed));
  }
  co_return co_await unmap_in_place(in_place);
}

std::expected<Changed, Errno> Clearing::change(std::uint64_t cluster, const L2Entry& old, Range range) const {
  const std::uint64_t begin = cluster << geometry().cluster_bits;
  const std::uint64_t from = std::max(range.offset, begin);
  const std::uint64_t end = std::min(range.end(), begin + geometry().cluster_bytes());
  if (place_of(geometry(), old).kind == ClusterKind::kInvalid) return fail(EIO);
  if (end - from == geometry().cluster_bytes() || !geometry().extended_l2) return change_whole(old);
  const unsigned first = geometry().subcluster_of(from);
  return change_part(old, first, geometry().subcluster_of(end - 1) - first + 1);
}

// The entry of a cluster that reads as zeros and has no host cluster.
L2Entry Clearing::cleared(const ClusterPlace& place) const {
  if (purpose_ == Purpose::kForget) return {};
  const bool had_bytes = place.kind != ClusterKind::kUnallocated || place.has_host_cluster;
  // After a discard without a backing file there is no difference to a cluster that was never written.
  if (purpose_ == Purpose::kDiscard && !had_bytes && !parts_.guest.has_backing()) return {};
  if (geometry().extended_l2) return {0, zero_bits(0, kSubclustersPerCluster)};
  return {geometry().zero_flag ? kEntryZero : 0};
}

Changed Clearing::change_whole(const L2Entry& old) const {
  const ClusterPlace place = place_of(geometry(), old);
  const bool is_compressed = place.kind == ClusterKind::kCompressed;
  const bool keeps_cluster = place.has_host_cluster && purpose_ != Purpose::kForget &&
                             (purpose_ == Purpose::kZero || policy_.discard_no_unref);
  if (keeps_cluster) {
    Changed kept{.entry = {old.descriptor | (geometry().extended_l2 ? 0 : kEntryZero)}};
    if (geometry().extended_l2) kept.entry.subclusters = zero_bits(0, kSubclustersPerCluster);
    // A cluster that a snapshot shares keeps its bytes.
    kept.unmap_in_place = purpose_ != Purpose::kZero && place.copied && policy_.pass_discard_request;
    return kept;
  }
  Changed changed{.entry = cleared(place)};
  if (place.has_host_cluster || is_compressed) {
    const bool discard = policy_.pass_discard_request || purpose_ == Purpose::kForget;
    changed.freed = {.clusters = clusters_of(geometry(), old), .discard = discard};
    if (geometry().data_file) changed = {.entry = changed.entry, .unmap_in_place = policy_.pass_discard_request};
  }
  return changed;
}

// Subclusters keep the host cluster of the others.
std::expected<Changed, Errno> Clearing::change_part(const L2Entry& old, unsigned first, unsigned count) const {
  if (place_of(geometry(), old).kind == ClusterKind::kCompressed) return fail(ENOTSUP);
  Changed changed{.entry = old};
  changed.entry.subclusters |= zero_bits(first, count);
  changed.entry.subclusters &= ~allocated_bits(first, count);
  return changed;
}

// Zeroes and no discard: until the next commit, a power cut leaves entries that show these bytes. Errors do not matter.
aio::Task<IoResult> Clearing::unmap_in_place(std::span<const std::uint64_t> host_offsets) {
  for (std::size_t i = 0; i < host_offsets.size();) {
    std::size_t count = 1;
    while (i + count < host_offsets.size() &&
           host_offsets[i + count] == host_offsets[i] + (std::uint64_t{count} << geometry().cluster_bits)) {
      ++count;
    }
    const Range range{host_offsets[i], std::uint64_t{count} << geometry().cluster_bits};
    if (range.fits(parts_.data.node().size_bytes())) {
      (void)co_await parts_.data.node().write_zeroes(range, {.may_unmap = true, .no_fallback = true});
    }
    i += count;
  }
  co_return IoResult();
}

// True if all bytes of `range`, which lies in one cluster, read as zeros without the backing file.
aio::Task<std::expected<bool, Errno>> is_zero(ImageParts& parts, Range range) {
  while (!range.empty()) {
    CO_TRY_ASSIGN(const GuestRun run, co_await find_run(parts.tables, range, RunPurpose::kRead));
    const bool zero =
        run.kind == ClusterKind::kZero || (run.kind == ClusterKind::kUnallocated && !parts.guest.has_backing());
    if (!zero) co_return false;
    range = {range.offset + run.length, range.length - run.length};
  }
  co_return true;
}

}  // namespace

aio::Task<IoResult> zero_range(ImageParts& parts, const WritePolicy& policy, Range range, block::ZeroOptions options) {
  const Geometry& geometry = parts.geometry();
  const std::uint64_t unit = geometry.subcluster_bytes();
  const bool ends_disk = range.end() >= parts.guest.disk_bytes();
  if (range.offset % unit != 0 || (range.end() % unit != 0 && !ends_disk)) {
    const ClusterPins::Pin pin = parts.pins.pin(co_await aio::current_reactor());
    CO_TRY_ASSIGN(const bool zero, co_await is_zero(parts, range));
    if (zero) co_return IoResult();
    co_return fail(ENOTSUP);
  }
  // The zero flag belongs to version 3. In a raw data file the zeros have to be in the file too.
  if (!geometry.zero_flag || policy.raw_data_file) co_return fail(ENOTSUP);
  const Range whole{range.offset, (range.end() + unit - 1) / unit * unit - range.offset};
  Clearing clearing(parts, policy, options.may_unmap ? Purpose::kZeroAndUnmap : Purpose::kZero);
  co_return co_await clearing.run(whole);
}

aio::Task<IoResult> discard_range(ImageParts& parts, const WritePolicy& policy, Range range) {
  // Without the zero flag the backing file would show through.
  if (!parts.geometry().zero_flag && parts.guest.has_backing()) co_return fail(ENOTSUP);
  const Range whole{range.offset, parts.geometry().round_up(range.end()) - range.offset};
  Clearing clearing(parts, policy, Purpose::kDiscard);
  co_return co_await clearing.run(whole);
}

aio::Task<IoResult> forget_range(ImageParts& parts, const WritePolicy& policy, Range range) {
  Clearing clearing(parts, policy, Purpose::kForget);
  co_return co_await clearing.run(range);
}

}  // namespace blockexport::drivers::qcow2
