// LongWork: progress and pause points of a long operation, for code that does not know on whose behalf it works.
//
// The caller of the operation implements it, and outlives the operation; a job does (jobs/job.h). Thread: the reactor
// of the task that runs the operation.
#pragma once

#include <cstdint>

#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::block {

class LongWork {
 public:
  // Waits while the operation is paused. ECANCELED: the operation must give up now. Call it between pieces of work,
  // each of which takes a fraction of a second, and where the objects that the piece used are in a consistent state.
  virtual aio::Task<IoResult> pause_point() = 0;

  // Adds to the amount that is to be done, and to the amount that is done; in units of the operation, e.g. bytes.
  virtual void expect(std::uint64_t units) = 0;
  virtual void advance(std::uint64_t units) = 0;

 protected:
  ~LongWork() = default;
};

}  // namespace blockexport::block
