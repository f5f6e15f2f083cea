#include "drivers/file/file_limits.h"

#include <algorithm>
#include <bit>

namespace blockexport::drivers {
namespace {

// Alignment for direct I/O when the system reports none: every disk supports it.
constexpr std::uint32_t kDirectAlignmentDefault = 4096;
constexpr std::uint32_t kDirectAlignmentMax = 65536;
constexpr std::uint32_t kOptimalBytesMax = 1u << 20;

bool usable_alignment(std::uint32_t value) {
  return std::has_single_bit(value) && value <= kDirectAlignmentMax;
}

}  // namespace

block::Limits file_limits(std::uint32_t block_bytes, std::optional<DirectAlignment> direct) {
  block::Limits limits;
  if (std::has_single_bit(block_bytes)) {
    limits.optimal_bytes = std::clamp(block_bytes, limits.optimal_bytes, kOptimalBytesMax);
  }
  if (!direct) return limits;
  const bool told = usable_alignment(direct->offset) && usable_alignment(direct->memory);
  limits.request_alignment = told ? direct->offset : kDirectAlignmentDefault;
  limits.memory_alignment = told ? direct->memory : kDirectAlignmentDefault;
  return limits;
}

}  // namespace blockexport::drivers
