// PreallocateOptions: how a preallocate node makes its file larger. Plain values.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace blockexport::schema {
struct BlockdevOptionsPreallocate;
}

namespace blockexport::drivers {

struct PreallocateOptions {
  std::uint64_t alignment_bytes = 1u << 20;  // of the end of the file; a multiple of 512; 0: none
  std::uint64_t step_bytes = 128u << 20;     // allocated beyond the end of a write

  friend bool operator==(const PreallocateOptions&, const PreallocateOptions&) = default;
};

// Errors: a value that is out of range, or an end that is not aligned to 512.
Result<PreallocateOptions> preallocate_options(const schema::BlockdevOptionsPreallocate& options);

}  // namespace blockexport::drivers
