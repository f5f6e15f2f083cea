// plan_backing_change(): the writes that give an image another backing file, in an order that a crash cannot spoil.
//
// The name goes to sectors of the first cluster that have nothing else; then one sector changes, which tells where the
// name is. A new section with the format is written behind the end mark, and then takes the place of the mark; until
// then the image may have the new name with the old format, or without one. So at each moment the header has the old
// name or the new one, as a whole. Pure; any thread. Source: docs/interop/qcow2.rst of QEMU, "Header", "Header
// extensions".
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <vector>

#include "base/errno.h"
#include "drivers/qcow2/format/header_write.h"

namespace blockexport::drivers::qcow2 {

// `first_cluster`: of an image whose header parse_header() accepts. `name`: empty for no backing file. `format`: the
// name of a driver; empty keeps what the image says. EINVAL: the name is too long; ENOSPC: there is no space for it;
// ENOTSUP: a section is in the way; EIO: the image is corrupt.
std::expected<std::vector<HeaderWrite>, Errno> plan_backing_change(std::span<const std::byte> first_cluster,
                                                                   std::string_view name, std::string_view format);

}  // namespace blockexport::drivers::qcow2
