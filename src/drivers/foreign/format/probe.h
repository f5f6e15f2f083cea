// probe_foreign(): recognises images of the formats of this folder by their first bytes.
//
// A pure function; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace blockexport::drivers::foreign {

// Name of the driver for an image that begins with these bytes, 512 of them if the file is as long; empty: none.
std::string_view probe_foreign(std::span<const std::byte> bytes);

}  // namespace blockexport::drivers::foreign
