// SingleRead: a complete, checked connection of a normal client: connect, negotiate, read the first block, disconnect.
//
// Thread: one owner, blocking. Keeps its buffer between connections.
#pragma once

#include "common/pattern.h"
#include "nbdload/connection.h"
#include "nbdload/options.h"

namespace blockexport::bench {

class SingleRead {
 public:
  SingleRead(const Options& options, const Pattern& pattern);

  // False when the server did not listen, closed the connection, refused it or sent wrong data.
  [[nodiscard]] bool run();

 private:
  Options options_;
  const Pattern& pattern_;
  ReceiveBuffer buffer_;
};

}  // namespace blockexport::bench
