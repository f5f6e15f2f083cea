// OperateCommands: the commands of `blockexport` that ask and change a running daemon, and their options.
//
// Made before the command line is parsed, and outlives the parsing, which fills its options. Main thread.
#pragma once

#include <memory>
#include <optional>

#include "base/error.h"

namespace CLI {
class App;
}

namespace blockexport::client {

class OperateCommands {
 public:
  explicit OperateCommands(CLI::App& app);
  ~OperateCommands();

  // Runs the command that was given; nothing when it was none of these.
  std::optional<Result<>> run() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace blockexport::client
