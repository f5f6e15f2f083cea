// ImageBytes: builds images of foreign formats in memory, field by field, for tests and fuzz targets.
//
// Any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace blockexport::drivers::foreign {

class ImageBytes {
 public:
  explicit ImageBytes(std::size_t bytes = 0) : bytes_(bytes) {}

  ImageBytes& le16(std::size_t offset, std::uint16_t value) { return put<std::endian::little>(offset, value); }
  ImageBytes& le32(std::size_t offset, std::uint32_t value) { return put<std::endian::little>(offset, value); }
  ImageBytes& le64(std::size_t offset, std::uint64_t value) { return put<std::endian::little>(offset, value); }
  ImageBytes& be16(std::size_t offset, std::uint16_t value) { return put<std::endian::big>(offset, value); }
  ImageBytes& be32(std::size_t offset, std::uint32_t value) { return put<std::endian::big>(offset, value); }
  ImageBytes& be64(std::size_t offset, std::uint64_t value) { return put<std::endian::big>(offset, value); }
  ImageBytes& u8(std::size_t offset, std::uint8_t value) { return put<std::endian::little>(offset, value); }
  ImageBytes& text(std::size_t offset, std::string_view value) {
    return copy(offset, std::as_bytes(std::span(value.data(), value.size())));
  }
  ImageBytes& copy(std::size_t offset, std::span<const std::byte> value) {
    if (bytes_.size() < offset + value.size()) bytes_.resize(offset + value.size());
    if (!value.empty()) std::memcpy(bytes_.data() + offset, value.data(), value.size());
    return *this;
  }
  ImageBytes& fill(std::size_t offset, std::size_t length, std::byte value) {
    return copy(offset, std::vector<std::byte>(length, value));
  }
  ImageBytes& resize(std::size_t bytes) {
    bytes_.resize(bytes);
    return *this;
  }

  std::size_t size() const { return bytes_.size(); }
  std::span<const std::byte> span() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  template <std::endian kOrder, class T>
  ImageBytes& put(std::size_t offset, T value) {
    if constexpr (std::endian::native != kOrder && sizeof(T) > 1) value = std::byteswap(value);
    return copy(offset, std::as_bytes(std::span(&value, 1)));
  }

  std::vector<std::byte> bytes_;
};

}  // namespace blockexport::drivers::foreign
