// MemoryImage: a qcow2 image in a recording file, open for writing, with a node above it: for tests of the write path
// without the driver that opens images. Its backing file, if it has one, is filled with one byte.
//
// Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>

#include "aio/task/current.h"
#include "base/byte_reader.h"
#include "block/edge.h"
#include "block/node.h"
#include "drivers/qcow2/compression/cluster_decompressor.h"
#include "drivers/qcow2/file/zero_padded_read.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/map/guest_run.h"
#include "drivers/qcow2/refcounts/refcount_words.h"
#include "drivers/qcow2/testing/recording_file.h"
#include "drivers/qcow2/write/image_writer.h"
#include "drivers/qcow2/write/load_metadata.h"

namespace blockexport::drivers::qcow2 {

// An empty image: header, refcount table and block, L1 table.
inline std::vector<std::byte> make_image(const Geometry& geometry, std::uint64_t disk_bytes,
                                         CompressionType compression_type = CompressionType::kZlib) {
  Header header{.version = geometry.zero_flag ? 3u : 2u,
                .cluster_bits = geometry.cluster_bits,
                .size_bytes = disk_bytes,
                .refcount_order = geometry.refcount_order,
                .compression_type = compression_type};
  if (compression_type != CompressionType::kZlib) header.incompatible_features |= kIncompatibleCompression;
  if (geometry.extended_l2) header.incompatible_features |= kIncompatibleExtendedL2;
  if (geometry.data_file) header.incompatible_features |= kIncompatibleDataFile;
  if (!geometry.zero_flag) header.header_bytes = kHeaderBytesVersion2;
  header.refcount_table_offset = geometry.cluster_bytes();
  header.refcount_table_clusters = 1;
  header.l1_offset = 3 * geometry.cluster_bytes();
  header.l1_entries = static_cast<std::uint32_t>(geometry.l1_entries_for(disk_bytes));
  const std::uint64_t clusters = 3 + geometry.cluster_of(header.l1_entries * 8 + geometry.cluster_bytes() - 1);
  std::vector<std::byte> bytes(clusters * geometry.cluster_bytes());
  const std::vector<std::byte> encoded = encode_header(header);
  std::ranges::copy(encoded, bytes.begin());
  const std::span<std::byte> all(bytes);
  set_refcount_at(all.subspan(geometry.cluster_bytes()), 6, 0, 2 * geometry.cluster_bytes());
  for (std::uint64_t cluster = 0; cluster < clusters; ++cluster) {
    set_refcount_at(all.subspan(2 * geometry.cluster_bytes(), geometry.cluster_bytes()), geometry.refcount_order,
                    cluster, 1);
  }
  return bytes;
}

class MemoryImage final : public GuestReader {
 public:
  struct Options {
    std::optional<std::byte> backing = std::nullopt;
    WritePolicy policy = {};
    std::uint64_t slice_bytes = 512;
    std::uint64_t cache_bytes = 16 << 10;
  };

  // `file` has an image; `data_file` is null, or the external data file's state.
  MemoryImage(RecordingState& file, RecordingState* data_file, Options options) : options_(options) {
    file_node_ = std::make_unique<block::Node>("file", std::make_unique<RecordingDriver>(file), block_options());
    file_ = std::make_unique<block::Edge>(*file_node_, block::EdgeParent{}, block::Permissions{});
    if (data_file == nullptr) return;
    data_node_ = std::make_unique<block::Node>("data", std::make_unique<RecordingDriver>(*data_file), block_options());
    data_ = std::make_unique<block::Edge>(*data_node_, block::EdgeParent{}, block::Permissions{});
  }

  // Call it before the others; `false`: the image cannot be opened.
  aio::Task<bool> open() {
    std::vector<std::byte> begin(std::size_t{1} << kClusterBitsMax);
    const iovec vector{begin.data(), begin.size()};
    if (!co_await read_zero_padded(*file_node_, {0, begin.size()}, {&vector, 1})) co_return false;
    const Result<Header> header = parse_header(begin, HeaderUse::kReadWrite);
    if (!header) co_return false;
    header_ = *header;
    std::vector<std::byte> l1_bytes(std::uint64_t{header_.l1_entries} * 8);
    const iovec l1_vector{l1_bytes.data(), l1_bytes.size()};
    if (!co_await read_zero_padded(*file_node_, {header_.l1_offset, l1_bytes.size()}, {&l1_vector, 1})) co_return false;
    std::vector<std::uint64_t> l1;
    ByteReader reader(l1_bytes);
    while (reader.remaining() != 0) l1.push_back(reader.u64());
    decompressor_ = std::make_unique<ClusterDecompressor>(header_.compression_type);
    tables_ = std::make_unique<ImageTables>(
        header_.geometry(), l1,
        ImageTables::CacheSizes{.slice_bytes = std::min(options_.slice_bytes, header_.cluster_bytes()),
                                .cache_bytes = options_.cache_bytes},
        *file_);
    Result<ImageWriter::Image> image = co_await load_image_for_writing(header_, {}, l1, *file_node_, 2);
    if (!image) co_return false;
    writer_ =
        std::make_unique<ImageWriter>(std::move(*image), *tables_, pins_, *this, *file_, data_.get(), options_.policy);
    disk_ = std::make_unique<block::Node>("disk", std::make_unique<Disk>(*this), block_options());
    co_return true;
  }

  block::Node& disk() { return *disk_; }
  ImageWriter& writer() { return *writer_; }
  ImageTables& tables() { return *tables_; }
  ClusterPins& pins() { return pins_; }

  aio::Task<IoResult> read_guest(block::Range range, block::IoBuffers buffers) override {
    const ClusterPins::Pin pin = pins_.pin(co_await aio::current_reactor());
    for (std::uint64_t done = 0; done < range.length;) {
      const block::Range rest{range.offset + done, range.length - done};
      CO_TRY_ASSIGN(const GuestRun run, co_await find_run(*tables_, rest, RunPurpose::kRead));
      const std::vector<iovec> part = block::slice(buffers, done, run.length);
      if (run.kind == ClusterKind::kData) {
        block::Node& node = data_ ? *data_node_ : *file_node_;
        CO_TRY(co_await read_zero_padded(node, {run.host_offset, run.length}, part));
      } else if (run.kind == ClusterKind::kCompressed) {
        CO_TRY(co_await read_compressed(run, rest.offset, part));
      } else {
        const bool from_backing = run.kind == ClusterKind::kUnallocated && options_.backing;
        for (const iovec& vector : part) {
          std::memset(vector.iov_base, static_cast<int>(options_.backing.value_or(std::byte{0})), vector.iov_len);
          if (!from_backing) std::memset(vector.iov_base, 0, vector.iov_len);
        }
      }
      done += run.length;
    }
    co_return IoResult();
  }
  aio::Task<IoResult> read_compressed(GuestRun run, std::uint64_t offset, block::IoBuffers buffers) {
    std::vector<std::byte> compressed(run.compressed_bytes);
    const iovec vector{compressed.data(), compressed.size()};
    CO_TRY(co_await read_zero_padded(*file_node_, {run.host_offset, compressed.size()}, {&vector, 1}));
    std::vector<std::byte> cluster(header_.cluster_bytes());
    CO_TRY(decompressor_->decompress(compressed, cluster));
    ++compressed_reads;
    const std::uint64_t begin = tables_->geometry().offset_in_cluster(offset);
    block::copy_in(buffers, 0, std::span(cluster).subspan(begin, run.length));
    co_return IoResult();
  }
  std::atomic<std::uint64_t> compressed_reads = 0;  // of clusters
  bool has_backing() const override { return options_.backing.has_value(); }
  std::uint64_t disk_bytes() const override { return header_.disk_bytes(); }

 private:
  // The driver of the node above.
  class Disk final : public block::LiveDriver {
   public:
    explicit Disk(MemoryImage& image) : image_(image) {}
    aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override {
      return image_.read_guest(range, buffers);
    }
    aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override {
      return image_.writer_->write(range, buffers, options);
    }
    IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                       block::InlineHints& hints) override {
      return image_.writer_->try_write(reactor, range, buffers, hints);
    }
    aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override {
      return image_.writer_->write_zeroes(range, options);
    }
    aio::Task<IoResult> discard(block::Range range) override { return image_.writer_->discard(range); }
    aio::Task<IoResult> flush() override { return image_.writer_->flush(); }
    bool owes_flush() const override { return image_.writer_->owes_flush(); }
    aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override {
      extents.push_back({.length = range.length, .data = true});
      co_return IoResult();
    }
    aio::Task<IoResult> prefetch(block::Range) override { co_return IoResult(); }
    std::uint64_t size_bytes() const override { return image_.disk_bytes(); }
    block::Limits limits() const override {
      const Geometry& geometry = image_.tables_->geometry();
      return {.zeroes_alignment = static_cast<std::uint32_t>(geometry.subcluster_bytes()),
              .discard_alignment = static_cast<std::uint32_t>(geometry.cluster_bytes())};
    }
    std::string_view format_name() const override { return "memory-qcow2"; }

   private:
    MemoryImage& image_;
  };

  static block::NodeOptions block_options() { return {.discard = block::DiscardMode::kUnmap}; }

  Options options_;
  Header header_;
  ClusterPins pins_;
  std::unique_ptr<block::Node> file_node_;
  std::unique_ptr<block::Node> data_node_;
  std::unique_ptr<block::Edge> file_;
  std::unique_ptr<block::Edge> data_;
  std::unique_ptr<ClusterDecompressor> decompressor_;
  std::unique_ptr<ImageTables> tables_;
  std::unique_ptr<ImageWriter> writer_;
  std::unique_ptr<block::Node> disk_;
};

}  // namespace blockexport::drivers::qcow2
