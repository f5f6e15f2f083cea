#include "export/nbd/wire/block_status_filter.h"

#include <algorithm>

#include "base/byte_reader.h"

namespace blockexport::nbd {

std::optional<BlockStatusFilter> parse_block_status_payload(std::span<const std::byte> payload,
                                                            std::span<const ContextInfo> selected) {
  constexpr std::size_t kLengthBytes = 8;
  constexpr std::size_t kIdBytes = 4;
  if (payload.size() < kLengthBytes + kIdBytes || (payload.size() - kLengthBytes) % kIdBytes != 0) return std::nullopt;
  const std::size_t count = (payload.size() - kLengthBytes) / kIdBytes;
  if (count > selected.size()) return std::nullopt;
  ByteReader reader(payload);
  BlockStatusFilter filter;
  filter.length = reader.u64();
  filter.context_ids.reserve(count);
  for (std::size_t index = 0; index < count; ++index) filter.context_ids.push_back(reader.u32());
  std::ranges::sort(filter.context_ids);
  if (std::ranges::adjacent_find(filter.context_ids) != filter.context_ids.end()) return std::nullopt;
  const auto is_selected = [&](std::uint32_t id) {
    return std::ranges::binary_search(selected, id, {}, &ContextInfo::id);
  };
  if (!std::ranges::all_of(filter.context_ids, is_selected)) return std::nullopt;
  return filter;
}

}  // namespace blockexport::nbd
