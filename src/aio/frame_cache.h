// Frames of coroutines, kept for the next one of their size: a request that waits costs no trip to the allocator.
//
// One cache per thread, as tasks never change theirs. What it keeps is bounded. With AddressSanitizer every frame comes
// from the allocator, so that a use after the end is seen.
#pragma once

#include <cstddef>

namespace blockexport::aio {

// Memory for a frame of `bytes`; never null: without memory the process ends.
void* take_frame(std::size_t bytes);
// `bytes` as they were taken. On the thread that took it.
void give_frame_back(void* frame, std::size_t bytes);

}  // namespace blockexport::aio
