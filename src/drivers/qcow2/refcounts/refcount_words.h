// Refcounts of 1 to 64 bits, as they stand in a refcount block. Pure functions; any thread.
//
// Source: docs/interop/qcow2.rst of QEMU, "Refcount block entry".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace blockexport::drivers::qcow2 {

// The refcount at `index` of a block whose refcounts have 1 << `order` bits.
std::uint64_t refcount_at(std::span<const std::byte> block, unsigned order, std::uint64_t index);
// The index of the first refcount of 0 at or behind `index`; the number of refcounts of the block if there is none.
std::uint64_t next_free(std::span<const std::byte> block, unsigned order, std::uint64_t index);
// Sets it; `value` fits the bits.
void set_refcount_at(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value);

}  // namespace blockexport::drivers::qcow2
