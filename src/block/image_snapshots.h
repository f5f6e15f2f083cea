// ImageSnapshots: the snapshots that a driver keeps inside its image, beside the state that its node shows.
//
// Owned by the driver, which implements it. Thread: the control reactor; one call at a time, under the graph's lock or
// for long work of a change (Graph::Change::let_others_look). The node is writable for all calls but list(). Errors are
// for users.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"

namespace blockexport::block {

// Plain value. Names and IDs may contain any bytes.
struct ImageSnapshot {
  std::string id = {};  // unique in the image
  std::string name = {};
  std::uint32_t date_seconds = 0;  // since the Epoch
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_ns = 0;     // time that the guest had run
  std::uint64_t vm_state_bytes = 0;  // 0: the snapshot is of the disk alone
  std::optional<std::uint64_t> instruction_count = std::nullopt;
};

class ImageSnapshots {
 public:
  // Fails if this image cannot have snapshots.
  virtual Result<> check_support() const = 0;
  // In the order of the image; the last one may have begun without being finished.
  virtual std::vector<ImageSnapshot> list() const = 0;

  // Makes the present bytes those of a snapshot, and returns its ID; the other fields are those of `snapshot`. The node
  // is quiesced. The image has the snapshot when finish() has succeeded, and requests may be under way until then.
  // After a success call finish() or cancel(); after an error of finish() call cancel().
  virtual aio::Task<Result<std::string>> begin(ImageSnapshot snapshot) = 0;
  virtual aio::Task<Result<>> finish(std::string id) = 0;
  // The image has no such snapshot afterwards. At worst clusters are counted that nothing uses.
  virtual aio::Task<Result<>> cancel(std::string id) = 0;

  // Deletes the snapshot of that ID, which exists. Requests may be under way. An error: the image has the snapshot, or
  // only its clusters are left, which nothing uses.
  virtual aio::Task<Result<>> remove(std::string id) = 0;
  // Makes the bytes and the size of the snapshot of that ID, which exists, those of the node, whose bytes before are
  // lost. The node is quiesced. Its bitmaps stay as they are.
  virtual aio::Task<Result<>> apply(std::string id) = 0;

 protected:
  ~ImageSnapshots() = default;
};

}  // namespace blockexport::block
