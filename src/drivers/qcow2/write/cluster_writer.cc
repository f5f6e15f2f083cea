#include "drivers/qcow2/write/cluster_writer.h"

#include <algorithm>

#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/write/old_content.h"
#include "drivers/qcow2/write/table_changes.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::IoBuffers;
using block::Range;

// The ways in which a guest cluster gets its new data.
enum class Way : std::uint8_t {
  kInPlace,      // all of it can be overwritten: not a case for this file
  kReserved,     // into the host cluster that it has, of which the new bytes are not in use yet
  kGuestOffset,  // at its own offset in a raw data file, or the only one in a data file
  kNewCluster,
};

struct Planned {
  Way way = Way::kInPlace;
  std::uint64_t host_offset = 0;  // kReserved, kGuestOffset
  L2Entry old_entry;
};

class NewPlace {
 public:
  NewPlace(ImageParts& parts, const WritePolicy& policy) : parts_(parts), policy_(policy) {}

  aio::Task<std::expected<std::uint64_t, Errno>> write(Range range, IoBuffers buffers);

 private:
  // Guest bytes of one step: consecutive clusters that take the same way to consecutive host clusters.
  struct Step {
    std::uint64_t first_cluster = 0;
    std::vector<Planned> clusters = {};
    std::uint64_t host_offset = 0;  // of the first cluster
    bool is_fresh = false;
    Range written = {};  // guest bytes that the request has
    Range filled = {};   // the same, with the bytes around them that have to be written too

    Range whole(const Geometry& geometry) const {
      return {first_cluster << geometry.cluster_bits, clusters.size() << geometry.cluster_bits};
    }
  };

  Range clusters_at_once(Range range) const;
  std::expected<Planned, Errno> plan_cluster(std::uint64_t cluster, const L2Entry& entry, Range range) const;
  aio::Task<std::expected<Step, Errno>> plan(Range clusters, Range range);
  aio::Task<IoResult> take_place(Step& step);
  Range range_to_fill(const Step& step) const;
  std::uint64_t fill_begin(const Step& step, std::uint64_t offset) const;
  std::uint64_t fill_end(const Step& step, std::uint64_t end) const;
  bool moves_whole_cluster(const Planned& planned) const;
  bool reads_as_zeros(const Planned& planned) const;
  aio::Task<IoResult> write_data(const Step& step, IoBuffers buffers);
  aio::Task<IoResult> write_host(Range host, std::uint64_t guest_offset, IoBuffers buffers);
  L2Entry new_entry(const Step& step, std::size_t index) const;
  aio::Task<IoResult> link(const Step& step);
  void give_back(const Step& step);

  const Geometry& geometry() const { return parts_.geometry(); }

  ImageParts& parts_;
  const WritePolicy& policy_;
};

// The clusters that one step may change: in one slice of an L2 table.
Range NewPlace::clusters_at_once(Range range) const {
  const std::uint64_t first = geometry().cluster_of(range.offset);
  const std::uint64_t end = geometry().cluster_of(range.end() - 1) + 1;
  const std::uint64_t entries = parts_.tables.cache().entries_per_slice();
  const std::uint64_t slice_end = first - first % entries + entries;
  const std::uint64_t limit = first + std::max<std::uint64_t>(1, kAllocatedAtOnceBytesMax >> geometry().cluster_bits);
  return {first, std::min({end, slice_end, limit}) - first};
}

aio::Task<std::expected<std::uint64_t, Errno>> NewPlace::write(Range range, IoBuffers buffers) {
  const Range clusters = clusters_at_once(range);
  const unsigned bits = geometry().cluster_bits;
  aio::Reactor& reactor = co_await aio::current_reactor();
  block::RangeLock::Hold hold(parts_.changes, reactor, {clusters.offset << bits, clusters.length << bits},
                              block::RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  const ClusterPins::Pin pin = parts_.pins.pin(reactor);
  CO_TRY(co_await make_table_writable(parts_, clusters.offset));
  CO_TRY_ASSIGN(Step step, co_await plan(clusters, range));
  if (step.clusters.front().way == Way::kInPlace) co_return 0;
  CO_TRY(co_await take_place(step));
  const Range whole = step.whole(geometry());
  step.written = {range.offset, std::min(range.end(), whole.end()) - range.offset};
  step.filled = range_to_fill(step);
  IoResult result = co_await write_data(step, buffers);
  if (result) result = co_await link(step);
  if (!result) {
    give_back(step);
    co_return fail(result.error().value());
  }
  co_return step.written.length;
}

std::expected<Planned, Errno> NewPlace::plan_cluster(std::uint64_t cluster, const L2Entry& entry, Range range) const {
  const ClusterPlace place = place_of(geometry(), entry);
  if (place.kind == ClusterKind::kInvalid) return fail(EIO);
  Planned planned{.way = Way::kNewCluster, .host_offset = place.host_offset, .old_entry = entry};
  const std::uint64_t begin = cluster << geometry().cluster_bits;
  if (geometry().data_file && !(place.has_host_cluster && place.copied)) {
    planned.way = Way::kGuestOffset;
    planned.host_offset = begin;
    return planned;
  }
  if (!place.has_host_cluster || !place.copied) return planned;
  planned.way = Way::kInPlace;
  if (!geometry().extended_l2) {
    if (place.kind == ClusterKind::kZero) planned.way = Way::kReserved;
    return planned;
  }
  const std::uint64_t from = std::max(range.offset, begin);
  const std::uint64_t last = std::min(range.end(), begin + geometry().cluster_bytes()) - 1;
  for (unsigned s = geometry().subcluster_of(from); s <= geometry().subcluster_of(last); ++s) {
    const ClusterKind kind = subcluster_kind(geometry(), entry, s);
    if (kind == ClusterKind::kInvalid) return fail(EIO);
    if (kind != ClusterKind::kData) planned.way = Way::kReserved;
  }
  return planned;
}

// Clusters from the first one on that take the same way.
aio::Task<std::expected<NewPlace::Step, Errno>> NewPlace::plan(Range clusters, Range range) {
  Step step{.first_cluster = clusters.offset};
  for (std::uint64_t i = 0; i < clusters.length; ++i) {
    const std::uint64_t cluster = clusters.offset + i;
    CO_TRY_ASSIGN(const L2Entry entry, co_await parts_.tables.entry(cluster));
    const std::expected<Planned, Errno> planned = plan_cluster(cluster, entry, range);
    if (!planned && i == 0) co_return fail(planned.error().value());
    if (!planned) break;
    if (i != 0) {
      const Planned& last = step.clusters.back();
      const bool follows = planned->host_offset == last.host_offset + geometry().cluster_bytes();
      if (planned->way != last.way || (planned->way != Way::kNewCluster && !follows)) break;
    }
    step.clusters.push_back(*planned);
  }
  step.host_offset = step.clusters.front().host_offset;
  co_return step;
}

aio::Task<IoResult> NewPlace::take_place(Step& step) {
  if (step.clusters.front().way != Way::kNewCluster) {
    const std::uint64_t first = geometry().cluster_of(step.host_offset);
    // A wrong entry must not send data over metadata.
    const bool in_file = step.clusters.front().way == Way::kReserved && !geometry().data_file;
    const std::lock_guard lock(parts_.tables.mutex());
    if (in_file && parts_.allocator.metadata().contains(first, step.clusters.size())) co_return fail(EIO);
    co_return IoResult();
  }
  CO_TRY_ASSIGN(const Allocated taken, co_await parts_.allocator.allocate(step.clusters.size()));
  step.clusters.resize(taken.clusters.count);
  step.host_offset = taken.clusters.first << geometry().cluster_bits;
  step.is_fresh = taken.is_fresh;
  co_return IoResult();
}

// True if all of the old cluster has to be in the new one, because it had data elsewhere.
bool NewPlace::moves_whole_cluster(const Planned& planned) const {
  if (!geometry().extended_l2) return true;
  if (planned.way != Way::kNewCluster) return false;
  return clusters_of(geometry(), planned.old_entry).count != 0;
}

std::uint64_t NewPlace::fill_begin(const Step& step, std::uint64_t offset) const {
  const Planned& first = step.clusters.front();
  if (moves_whole_cluster(first)) return geometry().round_down(offset);
  // A subcluster that has data is overwritten in place, by others too.
  const bool has_data =
      subcluster_kind(geometry(), first.old_entry, geometry().subcluster_of(offset)) == ClusterKind::kData;
  return has_data ? offset : offset & ~(geometry().subcluster_bytes() - 1);
}

std::uint64_t NewPlace::fill_end(const Step& step, std::uint64_t end) const {
  const Planned& last = step.clusters[geometry().cluster_of(end - 1) - step.first_cluster];
  if (moves_whole_cluster(last)) return geometry().round_up(end);
  const std::uint64_t unit = geometry().subcluster_bytes();
  const bool has_data =
      subcluster_kind(geometry(), last.old_entry, geometry().subcluster_of(end - 1)) == ClusterKind::kData;
  return has_data ? end : (end + unit - 1) & ~(unit - 1);
}

Range NewPlace::range_to_fill(const Step& step) const {
  const std::uint64_t begin = fill_begin(step, step.written.offset);
  return {begin, fill_end(step, step.written.end()) - begin};
}

// For the part of a cluster that this write does not cover; only what is certain.
bool NewPlace::reads_as_zeros(const Planned& planned) const {
  if (geometry().extended_l2) return planned.old_entry == L2Entry{} && !parts_.guest.has_backing();
  const ClusterKind kind = place_of(geometry(), planned.old_entry).kind;
  return kind == ClusterKind::kZero || (kind == ClusterKind::kUnallocated && !parts_.guest.has_backing());
}

aio::Task<IoResult> NewPlace::write_data(const Step& step, IoBuffers buffers) {
  Range filled = step.filled;
  // A fresh cluster has the zeros already, unless zeros are encrypted.
  const bool has_zeros = step.is_fresh && !parts_.data.is_encrypted();
  if (has_zeros && reads_as_zeros(step.clusters.front()))
    filled = {step.written.offset, filled.end() - step.written.offset};
  const Planned& last = step.clusters[geometry().cluster_of(step.written.end() - 1) - step.first_cluster];
  if (has_zeros && reads_as_zeros(last)) filled.length = step.written.end() - filled.offset;

  const std::uint64_t head_bytes = step.written.offset - filled.offset;
  const std::uint64_t tail_bytes = filled.end() - step.written.end();
  std::vector<iovec> vectors = block::slice(buffers, 0, step.written.length);
  const std::uint64_t host = step.host_offset + (filled.offset - step.whole(geometry()).offset);
  if (head_bytes + tail_bytes == 0) {
    block::debug_event(parts_.file, block::DebugEvent::kWriteAio);
    co_return co_await write_host({host, filled.length}, filled.offset, vectors);
  }
  const block::AlignedMemory memory(head_bytes + tail_bytes, 4096);
  if (!memory) co_return fail(ENOMEM);
  block::debug_event(parts_.file, block::DebugEvent::kCowRead);
  const std::span<std::byte> head = memory.bytes().first(head_bytes);
  const std::span<std::byte> tail = memory.bytes().subspan(head_bytes, tail_bytes);
  if (head_bytes != 0) {
    CO_TRY(co_await read_old_content(parts_, {filled.offset, head_bytes}, head));
    vectors.insert(vectors.begin(), {head.data(), head.size()});
  }
  if (tail_bytes != 0) {
    CO_TRY(co_await read_old_content(parts_, {step.written.end(), tail_bytes}, tail));
    vectors.push_back({tail.data(), tail.size()});
  }
  block::debug_event(parts_.file, block::DebugEvent::kCowWrite);
  co_return co_await write_host({host, filled.length}, filled.offset, vectors);
}

aio::Task<IoResult> NewPlace::write_host(Range host, std::uint64_t guest_offset, IoBuffers buffers) {
  IoResult result = fail(EAGAIN);
  if (host.length <= kInlineWriteBytesMax) {
    block::InlineHints hints;
    result = parts_.data.try_write(co_await aio::current_reactor(), host, guest_offset, buffers, hints);
  }
  if (result || result.error() != Errno(EAGAIN)) co_return result;
  co_return co_await parts_.data.write(host, guest_offset, buffers);
}

L2Entry NewPlace::new_entry(const Step& step, std::size_t index) const {
  const std::uint64_t host = step.host_offset + (std::uint64_t{index} << geometry().cluster_bits);
  L2Entry entry{encode_data(host, true)};
  if (!geometry().extended_l2) return entry;
  const Planned& planned = step.clusters[index];
  const std::uint64_t begin = (step.first_cluster + index) << geometry().cluster_bits;
  const std::uint64_t from = std::max(step.filled.offset, begin);
  const std::uint64_t last = std::min(step.filled.end(), begin + geometry().cluster_bytes()) - 1;
  const unsigned first_subcluster = geometry().subcluster_of(from);
  const unsigned count = geometry().subcluster_of(last) - first_subcluster + 1;
  if (!moves_whole_cluster(planned)) entry.subclusters = planned.old_entry.subclusters;
  entry.subclusters |= allocated_bits(first_subcluster, count);
  entry.subclusters &= ~zero_bits(first_subcluster, count);
  return entry;
}

aio::Task<IoResult> NewPlace::link(const Step& step) {
  std::vector<L2Entry> entries;
  std::vector<FreedRun> freed;
  for (std::size_t i = 0; i < step.clusters.size(); ++i) {
    entries.push_back(new_entry(step, i));
    if (step.clusters[i].way != Way::kNewCluster) continue;
    const HostClusters old = clusters_of(geometry(), step.clusters[i].old_entry);
    if (old.count != 0) freed.push_back({.clusters = old, .discard = policy_.pass_discard_other});
  }
  co_return co_await set_entries(parts_, step.first_cluster, entries, freed);
}

void NewPlace::give_back(const Step& step) {
  if (step.clusters.front().way != Way::kNewCluster) return;
  const std::lock_guard lock(parts_.tables.mutex());
  parts_.allocator.free({.clusters = {geometry().cluster_of(step.host_offset), step.clusters.size()}});
}

}  // namespace

aio::Task<std::expected<std::uint64_t, Errno>> write_to_new_place(ImageParts& parts, const WritePolicy& policy,
                                                                  Range range, IoBuffers buffers) {
  NewPlace place(parts, policy);
  co_return co_await place.write(range, buffers);
}

}  // namespace blockexport::drivers::qcow2
