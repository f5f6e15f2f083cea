// release_memory(): empties a container and gives its memory back. std's shrink_to_fit() is a request that libstdc++
// does not follow when exceptions are off, as they are here. Any thread; a free function without state.
#pragma once

namespace blockexport {

template <class Container>
void release_memory(Container& container) {
  // Neither assigning an empty string nor moving from one lets go of the memory.
  Container().swap(container);
}

}  // namespace blockexport
