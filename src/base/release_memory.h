// release_memory(): empties a container and frees its memory. libstdc++ ignores shrink_to_fit() when exceptions are
// off, as they are here. Any thread; a free function without state.
#pragma once

namespace blockexport {

template <class Container>
void release_memory(Container& container) {
  // Neither the assignment of an empty string nor a move from the string frees the memory.
  Container().swap(container);
}

}  // namespace blockexport
