// RawOptions: which part of the node below is shown. Plain values.
#pragma once

#include <cstdint>
#include <optional>

namespace blockexport::drivers {

struct RawOptions {
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> size_bytes = std::nullopt;  // without one: up to the child's end, wherever that is
};

}  // namespace blockexport::drivers
