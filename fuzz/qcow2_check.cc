// Fuzzes the consistency check and the repair of qcow2 images in the simulation: whatever the file contains, the check
// ends within its limits; one that repairs nothing writes nothing; and after a repair of all, a second one finds
// nothing more to repair, and the same damage that the first one left.
//
// Input: the content of the image's file.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"
#include "block/node.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/testing/recording_file.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kMemoryBytesMax = 8u << 20;
// A repair adds refcount structures alone.
constexpr std::uint64_t kFileBytesMax = 64u << 20;

void require(bool promise) {
  if (!promise) std::abort();
}

aio::Task<void> use(std::span<const std::byte> content) {
  RecordingState state;
  state.begin({content.begin(), content.end()});
  state.bytes_max = kFileBytesMax;
  block::Node file("file", std::make_unique<RecordingDriver>(state));
  const Result<CheckReport> found = co_await check_image(file, {.memory_bytes_max = kMemoryBytesMax});
  require(std::ranges::equal(state.bytes, content));
  if (!found) co_return;
  require(found->findings.size() <= kCheckFindingsMax && found->check_errors <= kCheckClustersMax);
  for (const CheckRepair repair : {CheckRepair::kLeaks, CheckRepair::kAll}) {
    const CheckOptions options{.repair = repair, .memory_bytes_max = kMemoryBytesMax};
    const Result<CheckReport> repaired = co_await check_image(file, options);
    // A limit, or no space.
    if (!repaired) continue;
    if (found->is_clean()) require(repaired->is_clean());
    const Result<CheckReport> again = co_await check_image(file, options);
    require(again.has_value());
    require(again->corruptions <= repaired->corruptions && again->leaks <= repaired->leaks);
    if (repaired->is_clean()) require(again->is_clean());
    if (!repaired->is_clean()) require(!repaired->findings.empty());
  }
}

void fuzz(std::span<const std::byte> content) {
  aio::Simulation simulation;
  const auto reactor = simulation.make_reactor();
  aio::Scope scope(*reactor);
  scope.spawn("use", use(content));
  while (scope.size() > 0) reactor->run_once(UINT64_MAX);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blockexport::drivers::qcow2::fuzz(std::as_bytes(std::span(data, size)));
  return 0;
}
