// SingleRead: one whole, checked conversation: connect, negotiate, read the first block, say goodbye. What a
// well-behaved new client does.
//
// Thread: one owner, blocking. Keeps its buffer between conversations.
#pragma once

#include "common/pattern.h"
#include "nbdload/connection.h"
#include "nbdload/options.h"

namespace blockexport::bench {

class SingleRead {
 public:
  SingleRead(const Options& options, const Pattern& pattern);

  // False when the server did not listen, closed, refused or sent something wrong.
  [[nodiscard]] bool run();

 private:
  Options options_;
  const Pattern& pattern_;
  ReceiveBuffer buffer_;
};

}  // namespace blockexport::bench
