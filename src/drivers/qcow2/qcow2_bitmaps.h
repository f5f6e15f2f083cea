// Qcow2Bitmaps: the persistent bitmaps in the bitmap directory of a qcow2 image.
//
// Bitmaps are loaded at the opening. Before the first change of the image all of them are marked as in use, in their
// places in the directory; they are stored when the node is closed or becomes read-only: bits, tables and a directory
// in new clusters, then the header's reference to the directory, each durable before the next; then the former clusters
// are freed. A crash at any moment leaves the former directory, whose bitmaps are in use, or the new one. The session
// of a bitmap store stands in the header from before the in-use marks until the bitmaps are stored. Owned by the
// driver. Thread: the control reactor while the node is quiesced; mark_in_use() on any, once at a time. Source:
// docs/interop/qcow2.rst of QEMU, "Bitmaps".
#pragma once

#include <atomic>
#include <optional>
#include <vector>

#include "block/image_bitmaps.h"
#include "drivers/qcow2/format/bitmap_directory.h"
#include "drivers/qcow2/image_content.h"
#include "drivers/qcow2/refcounts/refcounts.h"
#include "drivers/qcow2/write/image_writer.h"

namespace blockexport::drivers::qcow2 {

// The image whose bitmaps these are, as the driver has it.
class BitmapImage {
 public:
  virtual ImageContent& content() = 0;
  virtual block::Node& image_file() = 0;
  // Null: the data are in the image file.
  virtual block::Node* data_file() = 0;
  virtual const Geometry& geometry() const = 0;
  // Null while it is read-only.
  virtual ImageWriter* image_writer() = 0;
  // Returns true if the preparations for the first change have been made, which mark the bitmaps as in use.
  virtual bool is_prepared() const = 0;
  virtual aio::Task<IoResult> prepare() = 0;
  // The next change is a first one again.
  virtual void end_preparation() = 0;

 protected:
  ~BitmapImage() = default;
};

class Qcow2Bitmaps final : public block::ImageBitmaps {
 public:
  // The largest number of bitmaps in one image, and of bytes that their bits take in memory.
  static constexpr std::size_t kLoadedBitmapsMax = 4096;
  static constexpr std::uint64_t kLoadedBytesMax = std::uint64_t{1} << 30;

  // `named_session`: that the image was read with.
  Qcow2Bitmaps(BitmapImage& image, std::uint32_t named_session) : image_(image), named_(named_session) {}

  // The directory as it stands in the image now.
  std::vector<StoredBitmap> directory() const;
  // Part of the preparations for the first change of the image.
  aio::Task<IoResult> mark_in_use();
  // The driver has read the image again.
  void forget_use() { is_in_use_.store(false, std::memory_order_release); }
  // As forget_use(), when others may have changed the image since.
  void forget_session() { named_.store(image_.content().header.store_session(), std::memory_order_release); }
  // The header as it was read, with the session that it names by now.
  Header expected(Header header) const;

  Result<std::vector<Kept>> kept() const override;
  aio::Task<Result<>> load(std::string name, block::DirtyBits& bits) override;
  aio::Task<Result<>> begin_use() override;
  aio::Task<Result<>> store(const block::BitmapList& list) override;
  Result<> check_resize(const block::BitmapList& list, std::uint64_t size_bytes) const override;
  aio::Task<Result<block::ImageIdentity>> identify_image() override;
  std::uint32_t session() const override;
  void set_session(std::uint32_t session) override;
  aio::Task<Result<>> leave_session() override;

  Result<> check_addition(const block::BitmapList& list, const NewBitmap& bitmap) const override;
  aio::Task<Result<>> add(block::DirtyBitmap& bitmap) override;
  aio::Task<void> undo_add(block::DirtyBitmap& bitmap) override;
  aio::Task<Result<>> remove(block::DirtyBitmap& bitmap) override;
  // These are in memory until store().
  aio::Task<Result<>> set_enabled(block::DirtyBitmap&, bool) override { co_return Result<>(); }
  bool is_stored_enabled(const block::DirtyBitmap& bitmap) const override;
  aio::Task<void> store_bits() override { co_return; }

 private:
  // A directory that is to replace the one in the image.
  struct Next {
    std::vector<StoredBitmap> bitmaps = {};
    std::vector<StoredBitmap> dropped = {};  // whose bits and tables nothing needs any more
    std::vector<HostClusters> taken = {};    // clusters that are in use only from now on
  };

  // No session: nobody knows which one the header names.
  static constexpr std::uint64_t kUnknownSession = UINT64_MAX;

  const StoredBitmap* find(std::string_view name) const;
  aio::Task<IoResult> name_session(std::uint32_t session);
  aio::Task<Result<>> store_all(const block::BitmapList& list);
  aio::Task<Result<>> prepare_changes();
  aio::Task<Result<>> save_all(const block::BitmapList& list, Next& next);
  aio::Task<Result<>> save(const block::DirtyBitmap& bitmap, Next& next);
  aio::Task<Result<>> replace(Next next);
  aio::Task<IoResult> write_directory(Next& next, std::optional<BitmapsExtension>& extension);
  aio::Task<IoResult> refer_to(const std::optional<BitmapsExtension>& extension);
  aio::Task<IoResult> read_header_again();
  // Gives up clusters that the image does not refer to.
  aio::Task<void> free_runs(std::vector<HostClusters> runs);
  aio::Task<void> free_bitmap(StoredBitmap bitmap);
  aio::Task<void> free_run(HostClusters run);

  BitmapImage& image_;
  std::atomic<bool> is_in_use_ = false;  // every entry in the image has the flag
  // Since the last store() something may have changed. Set in the preparations, which a new session begins again.
  std::atomic<bool> is_used_ = false;
  std::uint32_t session_ = 0;         // of all changes; set while no request is under way
  std::atomic<std::uint64_t> named_;  // the one in the header
};

}  // namespace blockexport::drivers::qcow2
