// The common part of the fuzz targets of foreign image formats: opens the input in the simulation as an image of one
// format and reads it. It may fail, but all requests end, extents are well-formed, each reads as zeros where it says
// so, and a refusal has a text.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"
#include "drivers/foreign/testing/use_image.h"

namespace blockexport::drivers::foreign {

inline aio::Task<void> use_or_abort(Format format, std::span<const std::byte> content) {
  const UsedImage used = co_await use_image(format, content);
  if (used.broken.empty()) co_return;
  std::fprintf(stderr, "%s\n", used.broken.c_str());
  std::abort();
}

inline void fuzz_image(Format format, std::span<const std::byte> content) {
  aio::Simulation simulation;
  const auto reactor = simulation.make_reactor();
  aio::Scope scope(*reactor);
  scope.spawn("use", use_or_abort(format, content));
  while (scope.size() > 0) reactor->run_once(UINT64_MAX);
}

}  // namespace blockexport::drivers::foreign
