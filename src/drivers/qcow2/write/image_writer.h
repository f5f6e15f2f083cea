// ImageWriter: all changes of an open qcow2 image: writes, zeroes, discards, flushes.
//
// Clusters that belong to the active disk alone are overwritten in place, without a lock and on the reactor of the
// request. All other changes hold their guest clusters (ImageParts::changes), and end when the entries in memory are
// changed; a flush makes them durable (commit/metadata_writer.h).
//
// Owned by the image's driver, for an image that is open for writing. Thread: any.
#pragma once

#include <memory>
#include <optional>

#include "block/driver.h"
#include "drivers/qcow2/compression/cluster_compressor.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

class ImageWriter {
 public:
  struct Image {
    std::vector<std::uint64_t> refcount_table = {};  // in the byte order of the host
    std::uint64_t refcount_table_offset = 0;
    std::uint64_t l1_offset = 0;
    // Every cluster of metadata that the image has, settled.
    MetadataClusters metadata = {};
    Allocator::Options allocation = {};
    CompressionType compression_type = CompressionType::kZlib;
  };

  // Everything that is passed by reference outlives this. `data_file`: the external data file, or null. `encryption`:
  // that of the image, or null.
  ImageWriter(Image image, ImageTables& tables, ClusterPins& pins, GuestReader& guest, block::Edge& file,
              block::Edge* data_file, WritePolicy policy, ImageEncryption* encryption = nullptr);

  // Clusters of one request that are compressed at the same time.
  static constexpr std::size_t kCompressedAtOnceMax = 8;

  // As the verbs of block::LiveDriver. ENOTSUP, with nothing changed: a compressed write to an image with an external
  // data file, which has no compressed clusters.
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options);
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers, block::InlineHints& hints);
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options);
  aio::Task<IoResult> discard(block::Range range);
  aio::Task<IoResult> flush() { return metadata_writer_.commit(); }
  bool owes_flush() { return metadata_writer_.is_dirty(); }

  // Makes all changes fail with EIO from now on, because the image's metadata contradict each other.
  void stop() { corrupt_.store(true, std::memory_order_relaxed); }
  // The same happens when a write or an allocation meets such a contradiction.
  bool is_corrupt() const { return corrupt_.load(std::memory_order_relaxed) || allocator_.is_corrupt(); }

  // The place in the file of a write that would have overwritten metadata; nullopt: there was none.
  std::optional<block::Range> refused_place() const;
  const WritePolicy& policy() const { return policy_; }
  void set_policy(WritePolicy policy) { policy_ = policy; }
  ImageParts& parts() { return parts_; }

 private:
  enum class Form : bool { kPlain, kCompressed };
  struct Piece;

  aio::Task<IoResult> write_clusters(block::Range range, block::IoBuffers buffers);
  aio::Task<void> write_piece(Piece& piece);
  aio::Task<IoResult> write_all(block::Range range, block::IoBuffers buffers, Form form);
  aio::Task<std::expected<std::uint64_t, Errno>> write_some(block::Range range, block::IoBuffers buffers, Form form);
  aio::Task<std::expected<std::uint64_t, Errno>> allocate_and_write(block::Range range, block::IoBuffers buffers,
                                                                    Form form);
  aio::Task<std::expected<std::uint64_t, Errno>> write_to(block::Range range, block::IoBuffers buffers, Form form);
  // Without a lock: false is certain.
  bool may_be_over_metadata(block::Range host) const;
  bool is_over_metadata(block::Range host);
  aio::Task<IoResult> end_change(bool force_unit_access);

  MetadataClusters metadata_;
  Allocator allocator_;
  MetadataWriter metadata_writer_;
  ClusterCompressor compressor_;
  ImageParts parts_;
  WritePolicy policy_;
  std::atomic<bool> corrupt_ = false;
  std::atomic<std::uint64_t> refused_offset_ = 0;
  std::atomic<std::uint64_t> refused_bytes_ = 0;  // 0: none
};

}  // namespace blockexport::drivers::qcow2
