// MappedDriver: shows the disk of an image of one of the formats VDI, VHD, VMDK, VHDX and Parallels, for reading.
//
// Owned by its Node; owns the edges to its children. Its node is read-only, whatever its options say. All formats share
// it: the function that opens a format reads the headers and describes the disk (MappedImage). Verbs run on any
// reactor: lookups of table pieces that are in memory take a short lock, and no lock is held while data move.
// A wrong entry of a table fails the requests that need it with EIO; nothing in an image can do more.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "drivers/foreign/map/grain_reader.h"
#include "drivers/foreign/map/mapped_disk.h"
#include "schema/block_node_info.h"

namespace blockexport::drivers::foreign {

// An image that was opened, and its description for queries.
struct MappedImage {
  std::string_view format_name;                          // static text
  std::vector<MappedExtent> extents;                     // their files are among `files`
  std::vector<std::unique_ptr<block::Edge>> files = {};  // "file" is the last one, as the reference lists them
  std::unique_ptr<block::Edge> backing = nullptr;        // null: none
  std::uint32_t request_alignment = 1;
  std::uint64_t cluster_bytes = 0;  // for queries; 0: not shown
  bool shows_dirty_flag = true;
  std::optional<schema::ImageInfoSpecificVmdk> vmdk = std::nullopt;
  std::optional<std::string> backing_name = std::nullopt;  // as it stands in the image
};

class MappedDriver final : public block::LiveDriver {
 public:
  // Runs of one request that are read at the same time.
  static constexpr std::size_t kRunsAtOnceMax = 16;
  // Lookups in one turn of the event loop.
  static constexpr unsigned kLookupsPerTurnMax = 64;

  explicit MappedDriver(MappedImage image);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range, block::IoBuffers, block::WriteOptions) override { co_return fail(EPERM); }
  aio::Task<IoResult> write_zeroes(block::Range, block::ZeroOptions) override { co_return fail(EPERM); }
  aio::Task<IoResult> discard(block::Range) override { co_return fail(EPERM); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  // A range within one run that is no compressed data. No verb moves the bytes of an image that is only read, so
  // try_share() may tell their place.
  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;
  aio::Task<IoResult> read_shared(block::Range range, block::IoBuffers buffers) override;

  std::uint64_t size_bytes() const override { return disk_.size_bytes(); }
  block::Limits limits() const override;
  std::string_view format_name() const override { return image_.format_name; }
  bool can_discard() const override { return false; }
  bool is_read_only() const override { return true; }
  std::vector<block::Edge*> children() const override;
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  void describe_image(schema::ImageInfo& info) const override;
  aio::Task<std::expected<block::DataPlace, Errno>> locate(block::Range range) override;
  std::optional<std::string> backing_name() const override;

  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;
  aio::Task<void> abort_reopen() override;

 private:
  struct Piece;
  struct Decision;

  block::Edge& file() const { return *image_.files.back(); }
  // Returns true if the backing node has the content that the image was made for.
  bool has_right_backing() const;
  std::uint64_t backed_bytes(block::Range range) const;
  aio::Task<IoResult> read_backing(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> read_run(DiskRun run, block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> read_runs(block::Range range, block::IoBuffers buffers);
  aio::Task<void> read_piece(Piece& piece);
  aio::Task<IoResult> read_pieces(std::vector<Piece>& pieces);
  Decision decide(const DiskRun& run, block::Range range) const;
  Result<> prepare_backing(const schema::BlockdevOptions& after, block::ReopenChildren& children);

  MappedImage image_;
  MappedDisk disk_;
  GrainReader grains_;
  bool is_right_backing_;

  // Between prepare_reopen and commit_reopen or abort_reopen.
  bool has_added_backing_ = false;
  std::unique_ptr<block::Edge> dropped_backing_;
};

}  // namespace blockexport::drivers::foreign
