// ImageCommands: `blockexport image`, whose verbs open image files in this process, and their options.
//
// Made before the command line is parsed, and outlives the parsing, which fills its options. Main thread.
#pragma once

#include <memory>
#include <optional>

namespace CLI {
class App;
}

namespace blockexport::client {

class ImageCommands {
 public:
  explicit ImageCommands(CLI::App& app);
  ~ImageCommands();

  // True if the verb is `check`, whose exit codes have meanings of their own.
  bool is_check() const;
  // The exit code of the command that was given; nothing when it was none of these.
  std::optional<int> run() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace blockexport::client
