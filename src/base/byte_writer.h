// ByteWriter: writes big-endian integers and byte runs into a span it borrows.
//
// The caller sizes the span; writing past its end is a programming error and asserts. Thread: any. Never allocates.
#pragma once

#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace blockexport {

class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> bytes) : bytes_(bytes) {}

  void u8(std::uint8_t value) { integer(value); }
  void u16(std::uint16_t value) { integer(value); }
  void u32(std::uint32_t value) { integer(value); }
  void u64(std::uint64_t value) { integer(value); }

  void bytes(std::span<const std::byte> source) {
    assert(source.size() <= bytes_.size() - written_);
    if (!source.empty()) std::memcpy(bytes_.data() + written_, source.data(), source.size());
    written_ += source.size();
  }
  void text(std::string_view source) { bytes(std::as_bytes(std::span(source))); }

  // The bytes written so far.
  std::span<std::byte> written() const { return bytes_.first(written_); }

 private:
  template <class T>
  void integer(T value) {
    if constexpr (std::endian::native == std::endian::little) value = std::byteswap(value);
    bytes(std::as_bytes(std::span(&value, 1)));
  }

  std::span<std::byte> bytes_;
  std::size_t written_ = 0;
};

}  // namespace blockexport
