#include "aio/threads/long_slice.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <optional>

namespace blockexport::aio {
namespace {

// The first version of the kernel's struct sched_attr. Its header does not go with that of some C libraries.
struct Attributes {
  std::uint32_t size = sizeof(Attributes);
  std::uint32_t sched_policy = 0;
  std::uint64_t sched_flags = 0;
  std::int32_t sched_nice = 0;
  std::uint32_t sched_priority = 0;
  std::uint64_t sched_runtime = 0;
  std::uint64_t sched_deadline = 0;
  std::uint64_t sched_period = 0;
};
static_assert(sizeof(Attributes) == 48);

// Of the calling thread, if its policy has slices.
std::optional<Attributes> attributes() {
  Attributes found;
  if (syscall(SYS_sched_getattr, 0, &found, sizeof found, 0) != 0) return std::nullopt;
  if (found.sched_policy != SCHED_OTHER && found.sched_policy != SCHED_BATCH) return std::nullopt;
  return found;
}

void set_slice(std::uint64_t slice_ns) {
  std::optional<Attributes> changed = attributes();
  if (!changed) return;
  changed->sched_runtime = slice_ns;
  (void)syscall(SYS_sched_setattr, 0, &*changed, 0);
}

}  // namespace

LongSlice::LongSlice() {
  set_slice(kSliceNs);
}

// 0 asks for the usual one.
LongSlice::~LongSlice() {
  set_slice(0);
}

std::uint64_t LongSlice::slice_ns() {
  const std::optional<Attributes> found = attributes();
  return found ? found->sched_runtime : 0;
}

}  // namespace blockexport::aio
