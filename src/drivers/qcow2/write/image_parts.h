// ImageParts: the state of a writable qcow2 image that its operations share. WritePolicy: the options of the node.
//
// Both are parts of the image's writer. Thread: see each part.
#pragma once

#include "block/edge.h"
#include "block/node.h"
#include "block/range_lock.h"
#include "drivers/qcow2/commit/allocator.h"
#include "drivers/qcow2/commit/metadata_writer.h"
#include "drivers/qcow2/file/guest_data.h"
#include "drivers/qcow2/tables/cluster_pins.h"
#include "drivers/qcow2/tables/image_tables.h"

namespace blockexport::drivers::qcow2 {

struct WritePolicy {
  bool pass_discard_request = false;  // of clusters that a discard or a write of zeroes frees
  bool pass_discard_other = false;    // of clusters that any other change frees
  // Discards and zeroes keep the host cluster, so that later writes need no allocation.
  bool discard_no_unref = false;
  // The external data file has guest data at guest offsets, so that it can be used without the image.
  bool raw_data_file = false;
};

// Reads guest bytes as they are now, for the part of a new cluster that a write does not cover. Implemented by the
// image's driver.
class GuestReader {
 public:
  virtual aio::Task<IoResult> read_guest(block::Range range, block::IoBuffers buffers) = 0;
  // True if bytes that the image does not have may come from a backing file; else they are zeros.
  virtual bool has_backing() const = 0;
  // Size of the disk.
  virtual std::uint64_t disk_bytes() const = 0;

 protected:
  ~GuestReader() = default;
};

// Makes an L2 table that ImageTables::is_frozen() ready for changes: afterwards the flags in it tell which clusters
// may be overwritten. Implemented by snapshots/. Thread: any.
class TableThawing {
 public:
  virtual aio::Task<void> thaw(std::uint64_t l1_index) = 0;

 protected:
  ~TableThawing() = default;
};

struct ImageParts {
  ImageTables& tables;
  ClusterPins& pins;
  Allocator& allocator;
  MetadataWriter& metadata;
  GuestReader& guest;
  block::Edge& file;
  GuestData data;  // in the external data file, or else in `file`
  // Operations that change where guest clusters are. Held for the bytes of whole guest clusters.
  block::RangeLock changes = {};
  // Changes of L1 entries. Held for the index.
  block::RangeLock l1_changes = {};
  // Null: no table was ever frozen. It changes while no request is under way.
  TableThawing* thawing = nullptr;

  const Geometry& geometry() const { return tables.geometry(); }
};

}  // namespace blockexport::drivers::qcow2
