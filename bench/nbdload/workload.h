// Workload: generator of one connection's requests, which depends only on a seed.
//
// Thread: one owner. The same seed gives every server the same requests in the same order.
#pragma once

#include <cstdint>

#include "common/random.h"
#include "common/wire.h"
#include "nbdload/options.h"

namespace blockexport::bench {

struct Request {
  Command command = Command::kRead;
  uint64_t offset = 0;
  uint32_t length = 0;
};

class Workload {
 public:
  // Connection `index` of `options.connections`; sequential connections start at equal distances.
  Workload(const Options& options, uint64_t export_bytes, unsigned index);

  Request next();

 private:
  Shape shape_;
  uint32_t block_bytes_;
  uint64_t blocks_;
  uint64_t position_;
  uint64_t count_ = 0;
  Random random_;
};

}  // namespace blockexport::bench
