// Fields: reads integers and texts at fixed offsets of a header, of either byte order, from a span that it borrows.
//
// A field that does not lie in the span reads as zeros, so that a parser of untrusted bytes needs no check of its own
// for each field. Never allocates. Any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace blockexport::drivers::foreign {

class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint8_t u8(std::uint64_t offset) const { return integer<std::uint8_t, std::endian::little>(offset); }
  std::uint16_t le16(std::uint64_t offset) const { return integer<std::uint16_t, std::endian::little>(offset); }
  std::uint32_t le32(std::uint64_t offset) const { return integer<std::uint32_t, std::endian::little>(offset); }
  std::uint64_t le64(std::uint64_t offset) const { return integer<std::uint64_t, std::endian::little>(offset); }
  std::uint16_t be16(std::uint64_t offset) const { return integer<std::uint16_t, std::endian::big>(offset); }
  std::uint32_t be32(std::uint64_t offset) const { return integer<std::uint32_t, std::endian::big>(offset); }
  std::uint64_t be64(std::uint64_t offset) const { return integer<std::uint64_t, std::endian::big>(offset); }

  // Empty when it does not lie in the span.
  std::string_view text(std::uint64_t offset, std::size_t length) const {
    if (!has(offset, length)) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + offset, length};
  }
  bool has(std::uint64_t offset, std::uint64_t length) const {
    return offset <= bytes_.size() && length <= bytes_.size() - offset;
  }

 private:
  template <class T, std::endian kOrder>
  T integer(std::uint64_t offset) const {
    if (!has(offset, sizeof(T))) return 0;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    if constexpr (std::endian::native != kOrder) value = std::byteswap(value);
    return value;
  }

  std::span<const std::byte> bytes_;
};

}  // namespace blockexport::drivers::foreign
