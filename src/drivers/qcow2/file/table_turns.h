// kTableEntriesPerTurn: the number of entries of a table that a loop handles in one turn of the event loop.
//
// A table of the largest images has millions of entries, and monitors and clients are served meanwhile:
//   if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
#pragma once

#include <cstdint>

namespace blockexport::drivers::qcow2 {

inline constexpr std::uint64_t kTableEntriesPerTurn = 1u << 17;

}  // namespace blockexport::drivers::qcow2
