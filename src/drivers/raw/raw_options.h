// RawOptions: the part of the child node that is shown. Plain values.
#pragma once

#include <cstdint>
#include <optional>

namespace blockexport::drivers {

struct RawOptions {
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> size_bytes = std::nullopt;  // nullopt: up to the end of the child, also after a resize
};

}  // namespace blockexport::drivers
