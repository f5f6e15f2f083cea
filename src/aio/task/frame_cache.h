// Cache of coroutine frames, by size: a request that suspends does not call the allocator.
//
// One cache per thread; a frame may be taken on one thread and given back on another, as happens to a task that is
// moved to another reactor. The number of cached frames is bounded. With AddressSanitizer every frame comes from the
// allocator, so that it detects a use after free.
#pragma once

#include <cstddef>

namespace blockexport::aio {

// Memory for a frame of `bytes`; never null: without memory the process aborts.
void* take_frame(std::size_t bytes);
// `bytes`: the value passed to take_frame(). Any thread.
void give_frame_back(void* frame, std::size_t bytes);

}  // namespace blockexport::aio
