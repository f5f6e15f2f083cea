# The coroutine code needs a compiler whose coroutines are right: see ARCHITECTURE.md, "The compiler".
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
  message(FATAL_ERROR
    "blockexportd is built with clang 19 or newer (found ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}). "
    "g++ 12 miscompiles temporaries in co_await expressions. Use a preset: cmake --preset dev")
endif()
