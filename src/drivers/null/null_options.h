// NullOptions: size, latency and zeroes of a device without storage. Plain values.
#pragma once

#include <cstdint>
#include <string_view>

namespace blockexport::drivers {

struct NullOptions {
  static constexpr std::uint64_t kSizeBytesDefault = 1u << 30;

  std::uint64_t size_bytes = kSizeBytesDefault;  // rounded up to 512
  std::uint64_t latency_ns = 0;                  // of every request that reaches it
  // True if the driver promises that it reads as zeros. It returns zeros in any case: the buffer may hold data of
  // another client.
  bool read_zeroes = false;
  std::string_view format_name = "null-co";  // or "null-aio", which behaves the same; static text
};

}  // namespace blockexport::drivers
