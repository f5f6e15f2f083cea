// NullOptions: what a device without storage is like. Plain values.
#pragma once

#include <cstdint>
#include <string_view>

namespace blockexport::drivers {

struct NullOptions {
  static constexpr std::uint64_t kSizeBytesDefault = 1u << 30;

  std::uint64_t size_bytes = kSizeBytesDefault;  // rounded up to 512
  std::uint64_t latency_ns = 0;                  // of every request
  // Whether it promises zeros. It reads as zeros in any case: a buffer may hold what another client has read before.
  bool read_zeroes = false;
  std::string_view format_name = "null-co";  // or "null-aio", which is the same; static text
};

}  // namespace blockexport::drivers
