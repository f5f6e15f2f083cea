// seeds_here(): the number of seeds that a simulated test tries in this kind of build.
//
// For tests that take seconds: a sanitizer makes each seed several times slower, and more seeds would find little more,
// because a simulation has one thread only. Not part of the daemon.
#pragma once

#include <algorithm>
#include <cstdint>

namespace blockexport::aio::testing {

// `seeds` without a sanitizer; fewer, and one at least, with one.
constexpr std::uint64_t seeds_here(std::uint64_t seeds) {
#if __has_feature(thread_sanitizer)
  return std::max<std::uint64_t>(1, seeds / 6);
#elif __has_feature(address_sanitizer)
  return std::max<std::uint64_t>(1, seeds / 2);
#else
  return seeds;
#endif
}

}  // namespace blockexport::aio::testing
