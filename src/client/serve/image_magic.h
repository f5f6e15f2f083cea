// detected_format(): the format of a file by its magic number, of images and of compressed files. Any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace blockexport::serve {

// Bytes at the begin, and at the end, that decide.
inline constexpr std::size_t kMagicBeginBytes = 512;
inline constexpr std::size_t kMagicEndBytes = 512;

// The name of the format; empty: none that has a magic number. `begin` and `end`: at most so many bytes of the file.
std::string_view detected_format(std::span<const std::byte> begin, std::span<const std::byte> end);

}  // namespace blockexport::serve
