// CopyBeforeWriteOptions: what a CopyBeforeWriteDriver is told when it is opened and reopened. Plain values.
#pragma once

#include <cstdint>

namespace blockexport::drivers {

enum class OnCopyError : std::uint8_t {
  kFailRequest,       // the request that would change the bytes fails
  kGiveUpPointInTime  // the request goes on, and the older state is lost
};

struct CopyBeforeWriteOptions {
  static constexpr std::uint32_t kClusterBytesMin = 64u << 10;

  std::uint32_t cluster_bytes = kClusterBytesMin;  // a power of two, from 512 to 2 GiB
  OnCopyError on_error = OnCopyError::kFailRequest;
  std::uint64_t timeout_ns = 0;  // of the copies that one request waits for; 0: no limit
};

}  // namespace blockexport::drivers
