#include "drivers/qcow2/format/extension_area.h"

#include <algorithm>
#include <array>

#include "base/byte_reader.h"

namespace blockexport::drivers::qcow2 {

std::span<const std::byte> ExtensionReader::part(std::uint64_t bytes) const {
  if (offset_ >= cluster_.size()) return {};
  const auto rest = cluster_.subspan(static_cast<std::size_t>(offset_));
  return rest.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, rest.size())));
}

Result<std::optional<ExtensionReader::Section>> ExtensionReader::next() {
  if (offset_ >= end_) return std::nullopt;
  std::array<std::byte, kExtensionHeadBytes> head{};
  std::ranges::copy(part(head.size()), head.begin());
  ByteReader reader(head);
  Section section{.type = reader.u32()};
  section.bytes = reader.u32();
  offset_ += kExtensionHeadBytes;
  if (offset_ > end_ || section.bytes > end_ - offset_) return fail("Header extension too large");
  if (section.type == kExtensionEnd) {
    offset_ = end_;
    return std::nullopt;
  }
  section.data = part(section.bytes);
  offset_ += padded_extension(section.bytes);
  return section;
}

}  // namespace blockexport::drivers::qcow2
