#include "drivers/qcow2/check/reference_counts.h"

#include <algorithm>
#include <cstring>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr unsigned kByteOrder = 3;  // refcounts of one byte
constexpr unsigned kWordOrder = 4;  // of two bytes
constexpr std::uint64_t kPointerBytes = sizeof(std::unique_ptr<std::byte[]>);

unsigned bytes_for(unsigned refcount_order) {
  if (refcount_order <= kByteOrder) return 1;
  return refcount_order == kWordOrder ? 2 : 4;
}

std::uint64_t max_of(unsigned refcount_order) {
  const unsigned bits = std::min(1u << refcount_order, 32u);
  return (std::uint64_t{1} << bits) - 1;
}

}  // namespace

ReferenceCounts::ReferenceCounts(unsigned refcount_order, std::uint64_t memory_bytes_max)
    : count_bytes_(bytes_for(refcount_order)), max_(max_of(refcount_order)), memory_bytes_max_(memory_bytes_max) {}

std::uint64_t ReferenceCounts::value(const std::byte* chunk, std::uint64_t index) const {
  if (count_bytes_ == 1) return static_cast<std::uint64_t>(chunk[index]);
  if (count_bytes_ == 2) {
    std::uint16_t count = 0;
    std::memcpy(&count, chunk + 2 * index, sizeof count);
    return count;
  }
  std::uint32_t count = 0;
  std::memcpy(&count, chunk + 4 * index, sizeof count);
  return count;
}

void ReferenceCounts::set_value(std::byte* chunk, std::uint64_t index, std::uint64_t value) const {
  if (count_bytes_ == 1) {
    chunk[index] = static_cast<std::byte>(value);
  } else if (count_bytes_ == 2) {
    const auto count = static_cast<std::uint16_t>(value);
    std::memcpy(chunk + 2 * index, &count, sizeof count);
  } else {
    const auto count = static_cast<std::uint32_t>(value);
    std::memcpy(chunk + 4 * index, &count, sizeof count);
  }
}

std::uint64_t ReferenceCounts::at(std::uint64_t cluster) const {
  const std::uint64_t number = cluster / kChunkClusters;
  if (number >= chunks_.size() || chunks_[number] == nullptr) return 0;
  return value(chunks_[number].get(), cluster % kChunkClusters);
}

std::expected<std::uint64_t, Errno> ReferenceCounts::add(std::uint64_t cluster, std::uint64_t times) {
  const std::uint64_t number = cluster / kChunkClusters;
  if (number >= chunks_.size()) {
    const std::uint64_t more = (number + 1 - chunks_.size()) * kPointerBytes;
    if (more > memory_bytes_max_ - memory_bytes_) return fail(ENOMEM);
    memory_bytes_ += more;
    chunks_.resize(number + 1);
  }
  std::unique_ptr<std::byte[]>& chunk = chunks_[number];
  if (chunk == nullptr) {
    const std::uint64_t bytes = kChunkClusters * count_bytes_;
    if (bytes > memory_bytes_max_ - memory_bytes_) return fail(ENOMEM);
    memory_bytes_ += bytes;
    chunk = std::make_unique<std::byte[]>(bytes);
  }
  end_ = std::max(end_, cluster + 1);
  const std::uint64_t before = value(chunk.get(), cluster % kChunkClusters);
  const std::uint64_t taken = std::min(times, max_ - before);
  set_value(chunk.get(), cluster % kChunkClusters, before + taken);
  return times - taken;
}

std::uint64_t ReferenceCounts::next_counted(std::uint64_t cluster, std::uint64_t end) const {
  while (cluster < end) {
    const std::uint64_t number = cluster / kChunkClusters;
    if (number >= chunks_.size()) return end;
    if (chunks_[number] != nullptr) return cluster;
    cluster = (number + 1) * kChunkClusters;
  }
  return end;
}

void ReferenceCounts::clear() {
  chunks_.clear();
  memory_bytes_ = 0;
  end_ = 0;
}

}  // namespace blockexport::drivers::qcow2
