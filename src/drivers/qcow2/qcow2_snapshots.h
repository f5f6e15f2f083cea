// Qcow2Snapshots: the internal snapshots of a qcow2 image.
//
// Taking one freezes the tables of the disk at one moment (snapshots/frozen_state.h), counts their clusters step by
// step while requests go on, and lets the header refer to a snapshot table with the new one. Deleting one lets the
// header refer to a table without it first, and counts afterwards. A power cut at any write leaves the snapshots before
// or those after, and at worst clusters that are counted without being used. docs/qcow2.md states the model. Owned by
// the driver. Thread: the control reactor. Source: docs/interop/qcow2.rst of QEMU, "Snapshots".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/image_snapshots.h"
#include "drivers/qcow2/qcow2_bitmaps.h"
#include "drivers/qcow2/snapshots/frozen_state.h"

namespace blockexport::drivers::qcow2 {

// The image whose snapshots these are, as the driver has it.
class SnapshotImage : public BitmapImage {
 public:
  virtual std::uint64_t shown_bytes() const = 0;
  // Reads the image again, which has another state of the disk, while no request is under way.
  virtual aio::Task<Result<>> reload() = 0;

 protected:
  ~SnapshotImage() = default;
};

class Qcow2Snapshots final : public block::ImageSnapshots {
 public:
  explicit Qcow2Snapshots(SnapshotImage& image) : image_(image) {}

  Result<> check_support() const override;
  std::vector<block::ImageSnapshot> list() const override;
  aio::Task<Result<std::string>> begin(block::ImageSnapshot snapshot) override;
  aio::Task<Result<>> finish(std::string id) override;
  aio::Task<Result<>> cancel(std::string id) override;
  aio::Task<Result<>> remove(std::string id) override;
  aio::Task<Result<>> apply(std::string id) override;

  // L2 tables that one step handles, in bytes; at least one table. For tests, whose images are small.
  void set_step_bytes(std::uint64_t step_bytes) { step_bytes_ = step_bytes; }

 private:
  ImageParts& parts() { return image_.image_writer()->parts(); }
  std::vector<Snapshot>& snapshots() { return image_.content().snapshots.snapshots; }
  std::vector<Snapshot>::iterator find(const std::string& id);
  std::string next_id();
  bool is_pending(const std::string& id) const { return pending_ && pending_->id == id; }
  aio::Task<Result<>> prepare();
  aio::Task<IoResult> store_pending();
  // After commits have moved the L1 table.
  void note_l1();
  Error refusal(Errno error);

  SnapshotImage& image_;
  std::uint64_t step_bytes_ = kSnapshotStepBytesMax;
  std::optional<Snapshot> pending_;      // without its L1 table
  bool is_pending_certain_ = true;       // false: the image may have it after an error
  std::unique_ptr<FrozenState> frozen_;  // of the last one that began
};

}  // namespace blockexport::drivers::qcow2
