// Qcow2Driver: shows the disk of a qcow2 image.
//
// Owned by its Node; owns the edges to its children: "file" with the metadata, "data-file" with the guest's data of an
// image that keeps them apart, and "backing" with the bytes that the image does not contain. Verbs run on any reactor:
// lookups of cached L2 tables take no lock, and no lock is held while data move. Changes are those of the ImageWriter,
// which a node has that is not read-only.
// A wrong entry of a table fails the requests that need it with EIO; nothing in an image can do more.
// Source: docs/interop/qcow2.rst of QEMU; docs/qcow2.md says what is read and how.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "aio/sync/scope.h"
#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/range_lock.h"
#include "drivers/encryption/encrypted_image.h"
#include "drivers/qcow2/compressed_reader.h"
#include "drivers/qcow2/corruption_report.h"
#include "drivers/qcow2/file/guest_data.h"
#include "drivers/qcow2/file/image_encryption.h"
#include "drivers/qcow2/image_content.h"
#include "drivers/qcow2/qcow2_bitmaps.h"
#include "drivers/qcow2/qcow2_options.h"
#include "drivers/qcow2/qcow2_snapshots.h"
#include "drivers/qcow2/tables/cluster_pins.h"
#include "drivers/qcow2/tables/image_tables.h"
#include "drivers/qcow2/write/image_writer.h"

namespace blockexport::drivers::qcow2 {

class Qcow2Driver final : public block::LiveDriver, public EncryptedImage, GuestReader, SnapshotImage {
 public:
  // Runs of one request that are read at the same time.
  static constexpr std::size_t kRunsAtOnceMax = 16;
  // Lookups in one turn of the event loop, each of at most kRunEntriesMax entries: about a millisecond.
  static constexpr unsigned kLookupsPerTurnMax = 64;
  // Sets of the cache of L2 tables, of 8 slices each, that one turn of the event loop looks for unused slices.
  static constexpr std::size_t kSetsCleanedPerTurnMax = 64;

  struct Children {
    std::unique_ptr<block::Edge> file;
    std::unique_ptr<block::Edge> data_file;  // null: the data are in `file`
    std::unique_ptr<block::Edge> backing;    // null: none
  };
  using Encryption = std::unique_ptr<ImageEncryption>;  // null: none

  // `control`: the reactor of quiesce() and resume(). `image`: of children.file, whose type of compression is built.
  Qcow2Driver(aio::Reactor& control, Qcow2Options options, const Qcow2CacheSizes& sizes, ImageContent image,
              Children children, Encryption encryption, CorruptionReport corruption);

  // Makes the node writable, before any verb. Fails when the image may only be read, with the reason.
  aio::Task<Result<>> begin_writing();

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  // A range within one run that is no compressed data. There is no try_share(): the clusters of a range may be freed
  // and used again before the bytes are sent.
  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;

  std::uint64_t size_bytes() const override { return size_bytes_.load(std::memory_order_acquire); }
  block::Limits limits() const override;
  std::string_view format_name() const override { return "qcow2"; }
  bool can_compress() const override { return true; }
  bool is_read_only() const override { return writer_ == nullptr; }
  bool owes_flush() const override;
  aio::Task<void> quiesce() override;
  void resume() override;
  aio::Task<IoResult> change_backing_name(std::string name, std::string_view format) override;
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override;
  // The newest first, as the reference lists them.
  std::vector<block::Edge*> children() const override;
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  block::ImageBitmaps* image_bitmaps() override { return &bitmaps_; }
  block::ImageSnapshots* image_snapshots() override { return &snapshots_; }
  void describe_image(schema::ImageInfo& info) const override;
  aio::Task<std::expected<block::DataPlace, Errno>> locate(block::Range range) override;
  std::optional<std::string> backing_name() const override;

  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;
  aio::Task<void> abort_reopen() override;

  const ImageContent& image() const { return image_; }
  bool is_encrypted() const { return encryption_ != nullptr; }
  // For an encrypted image.
  const crypto::LuksHeader* luks_header() const override { return encryption_->luks ? &*encryption_->luks : nullptr; }
  void set_luks_header(crypto::LuksHeader header) override { encryption_->luks = std::move(header); }
  block::Node& luks_node() const override { return file(); }
  std::uint64_t luks_offset() const override { return image_.extensions.encryption()->offset; }
  const std::string& key_secret() const override { return encryption_->key_secret; }
  const Qcow2Options& options() const { return options_; }

 private:
  struct Piece;
  // The image anew, as a reopen needs it.
  struct Opened {
    ImageContent image;
    std::unique_ptr<ImageTables> tables;
    std::unique_ptr<ImageWriter> writer;
  };

  block::Node& file() const { return file_->node(); }
  GuestData data() const { return {data_file_ != nullptr ? *data_file_ : *file_, encryption_.get()}; }
  static std::unique_ptr<ImageTables> make_tables(const Geometry& geometry, std::span<const std::uint64_t> l1,
                                                  const Qcow2CacheSizes& sizes, block::Edge& file);

  // GuestReader.
  aio::Task<IoResult> read_guest(block::Range range, block::IoBuffers buffers) override { return read(range, buffers); }
  bool has_backing() const override { return backing_ != nullptr; }
  std::uint64_t disk_bytes() const override { return size_bytes(); }

  // SnapshotImage.
  std::uint64_t shown_bytes() const override { return size_bytes(); }
  aio::Task<Result<>> reload() override;
  ImageContent& content() override { return image_; }
  block::Node& image_file() override { return file(); }
  block::Node* data_file() override { return data_file_ != nullptr ? &data_file_->node() : nullptr; }
  const Geometry& geometry() const override { return tables_->geometry(); }
  ImageWriter* image_writer() override { return writer_.get(); }
  bool is_prepared() const override { return may_change(); }
  aio::Task<IoResult> prepare() override { return prepare_first_change(); }
  void end_preparation() override { may_change_.store(false, std::memory_order_release); }

  aio::Task<Result<std::unique_ptr<ImageWriter>>> make_writer(const ImageContent& image, ImageTables& tables,
                                                              const Qcow2CacheSizes& sizes,
                                                              const Qcow2Options& options);
  aio::Task<Result<Opened>> open_again();
  // The image is what was opened again with next_sizes_.
  void take(Opened opened);
  WritePolicy policy_of(const ImageContent& image, const Qcow2Options& options) const;
  // Reports a contradiction in the image, and stops and marks a writable image; does so once.
  aio::Task<void> report_corruption(std::string message, std::optional<block::Range> place);
  // True if the preparations for the first change have been made.
  bool may_change() const { return may_change_.load(std::memory_order_acquire); }
  aio::Task<IoResult> prepare_first_change();
  aio::Task<std::expected<bool, Errno>> is_as_opened();
  aio::Task<IoResult> after_change(IoResult result);
  aio::Task<Result<>> grow_disk(std::uint64_t size_bytes);
  aio::Task<Result<>> shrink_disk(std::uint64_t size_bytes);

  aio::Task<void> clean_cache_regularly();

  // The run at the start of the range. EIO when the image is corrupt there, which it logs.
  aio::Task<std::expected<GuestRun, Errno>> find(block::Range range);
  std::optional<std::string> describe_wrong_entry(std::uint64_t offset) const;
  // The place of bytes at `offset` that are zeros or in the backing node: whether host clusters are reserved for them.
  block::DataPlace reserved_place(std::uint64_t offset, block::DataPlace place) const;
  aio::Task<IoResult> read_run(GuestRun run, block::Range range, block::IoBuffers buffers,
                               CompressedReader::Where where);
  aio::Task<IoResult> read_runs(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> read_pieces(std::span<Piece> pieces);
  aio::Task<void> read_piece(Piece& piece, CompressedReader::Where where);
  aio::Task<IoResult> read_backing(block::Range range, block::IoBuffers buffers);
  // The part of the range that the backing node has, from its start; 0 without a backing node.
  std::uint64_t backed_bytes(block::Range range) const;

  Result<> prepare_backing(const schema::BlockdevOptionsQcow2& after, block::ReopenChildren& children);

  aio::Reactor& control_;
  Qcow2Options options_;
  Qcow2CacheSizes sizes_;
  ImageContent image_;  // its L1 table is in tables_
  std::unique_ptr<block::Edge> file_;
  std::unique_ptr<block::Edge> data_file_;
  std::unique_ptr<block::Edge> backing_;
  Encryption encryption_;
  ClusterPins pins_;
  std::unique_ptr<ImageTables> tables_;
  std::unique_ptr<ImageWriter> writer_;  // null: read-only
  std::atomic<bool> has_reported_ = false;
  std::atomic<bool> may_change_ = false;
  block::RangeLock first_change_;
  bool is_verified_ = false;  // the image is the one that was opened; guarded by first_change_
  CompressedReader compressed_;
  Qcow2Bitmaps bitmaps_{*this, image_.header.store_session()};
  Qcow2Snapshots snapshots_{*this};
  CorruptionReport corruption_;
  std::atomic<std::uint64_t> size_bytes_;
  std::optional<aio::Scope> cleaning_;  // between resume() and quiesce()

  // Between prepare_reopen and commit_reopen or abort_reopen.
  Qcow2Options next_options_;
  Qcow2CacheSizes next_sizes_;
  std::optional<Opened> next_opened_;
  bool next_read_only_ = true;
  bool has_added_backing_ = false;
  std::unique_ptr<block::Edge> dropped_backing_;
};

}  // namespace blockexport::drivers::qcow2
