// Frames of coroutines, kept for the next one of their size: a request that waits costs no trip to the allocator.
//
// One cache per thread; a frame may be taken on one and given back on another, as a task that is carried to another
// reactor does. What a cache keeps is bounded. With AddressSanitizer every frame comes from the allocator, so that a
// use after the end is seen.
#pragma once

#include <cstddef>

namespace blockexport::aio {

// Memory for a frame of `bytes`; never null: without memory the process ends.
void* take_frame(std::size_t bytes);
// `bytes` as they were taken. Any thread.
void give_frame_back(void* frame, std::size_t bytes);

}  // namespace blockexport::aio
