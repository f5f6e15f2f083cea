// ByteReader: reads big-endian integers and byte runs from a span it borrows.
//
// A read past the end sets failed() and gives zeros or an empty span from then on, so a parser can read a whole
// structure and check failed() once. Thread: any. Never allocates.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace blockexport {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint8_t u8() { return integer<std::uint8_t>(); }
  std::uint16_t u16() { return integer<std::uint16_t>(); }
  std::uint32_t u32() { return integer<std::uint32_t>(); }
  std::uint64_t u64() { return integer<std::uint64_t>(); }

  std::span<const std::byte> bytes(std::size_t count) {
    if (count > bytes_.size()) {
      failed_ = true;
      bytes_ = {};
      return {};
    }
    auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  std::string_view text(std::size_t count) {
    auto taken = bytes(count);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  std::size_t remaining() const { return bytes_.size(); }
  bool failed() const { return failed_; }

 private:
  template <class T>
  T integer() {
    auto taken = bytes(sizeof(T));
    if (taken.empty()) return 0;
    T value;
    std::memcpy(&value, taken.data(), sizeof value);
    if constexpr (std::endian::native == std::endian::little) value = std::byteswap(value);
    return value;
  }

  std::span<const std::byte> bytes_;
  bool failed_ = false;
};

}  // namespace blockexport
