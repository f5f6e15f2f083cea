#include "drivers/qcow2/create/create_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "block/buffers.h"
#include "drivers/qcow2/create/image_layout.h"
#include "drivers/qcow2/create/root_luks_storage.h"
#include "drivers/qcow2/create/root_requests.h"
#include "drivers/qcow2/format/extension_area.h"
#include "drivers/qcow2/format/feature_names.h"
#include "drivers/qcow2/format/header_extensions.h"

namespace blockexport::drivers::qcow2 {
namespace {

// Bytes that one request allocates without writing them, and that one request writes.
constexpr std::uint64_t kAllocatedPieceBytes = 256u << 20;
constexpr std::uint64_t kWrittenPieceBytes = 1u << 20;

// Images with smaller clusters have no feature name table: it would leave too little of the first cluster for a name.
constexpr std::uint64_t kClusterBytesOfFeatureNamesMin = 8192;

constexpr const char* kHeaderFailed = "Could not write qcow2 header";

Result<> as_result(IoResult result, std::string message) {
  if (result) return {};
  return fail(Error::system(std::move(message), result.error()));
}

Result<> prefixed(Result<> result, std::string_view prefix) {
  if (result) return result;
  return fail(std::move(result).error().with_prefix(prefix));
}

Header header_of(const Creation& creation, const ImageLayout& layout) {
  Header header;
  header.version = creation.version;
  layout.describe_in(header);
  if (creation.encryption) header.encryption_method = kEncryptionLuks;
  if (creation.version < 3) {
    header.header_bytes = kHeaderBytesVersion2;
    return header;
  }
  header.compression_type = creation.compression_type;
  if (creation.has_data_file) header.incompatible_features |= kIncompatibleDataFile;
  if (creation.compression_type != CompressionType::kZlib) header.incompatible_features |= kIncompatibleCompression;
  if (creation.extended_l2) header.incompatible_features |= kIncompatibleExtendedL2;
  if (creation.lazy_refcounts) header.compatible_features |= kCompatibleLazyRefcounts;
  if (creation.data_file_raw) header.autoclear_features |= kAutoclearRawDataFile;
  return header;
}

HeaderExtensions extensions_of(const Creation& creation, const ImageLayout& layout, std::uint64_t encryption_bytes,
                               const std::string& data_file_name) {
  HeaderExtensions extensions;
  if (creation.backing_format) extensions.set_text(kExtensionBackingFormat, *creation.backing_format);
  if (creation.has_data_file) extensions.set_text(kExtensionDataFile, data_file_name);
  if (creation.encryption) {
    extensions.set_encryption(
        {.offset = layout.encryption().first << layout.geometry().cluster_bits, .bytes = encryption_bytes});
  }
  if (creation.version >= 3 && creation.cluster_bytes >= kClusterBytesOfFeatureNamesMin) {
    extensions.set(kExtensionFeatureNames, encode_feature_names());
  }
  return extensions;
}

class ImageWriter {
 public:
  ImageWriter(const Creation& creation, ImageLayout layout, const ImageFiles& files, block::LongWork& work)
      : creation_(creation),
        layout_(std::move(layout)),
        file_(*files.file),
        data_file_(files.data_file),
        work_(work),
        memory_(std::max(kWrittenPieceBytes, creation.cluster_bytes), kMemoryAlignment) {}

  // `luks`: of an image that is encrypted.
  aio::Task<Result<>> run(std::vector<std::byte> file_begin, std::optional<crypto::LuksHeader> luks,
                          crypto::Passphrase passphrase);

 private:
  static constexpr std::size_t kMemoryAlignment = 4096;

  std::uint64_t cluster_bytes() const { return layout_.geometry().cluster_bytes(); }
  std::uint64_t offset_of(std::uint64_t cluster) const { return cluster * cluster_bytes(); }

  aio::Task<Result<>> erase_header();
  aio::Task<Result<>> write_tables();
  aio::Task<IoResult> write_part(std::uint64_t offset, std::uint64_t end);
  aio::Task<Result<>> make_data();
  aio::Task<Result<>> make_data_file();
  // Gives [offset, end) storage and zeros. The messages are those of new data of a file.
  aio::Task<Result<>> allocate(RootRequests target, std::uint64_t offset, std::uint64_t end);
  aio::Task<Result<>> write_zeros(RootRequests target, std::uint64_t offset, std::uint64_t end);
  aio::Task<Result<>> empty_old_data(std::uint64_t offset, std::uint64_t end);
  aio::Task<Result<>> write_luks(crypto::LuksHeader luks, crypto::Passphrase passphrase);
  aio::Task<Result<>> write_header(std::vector<std::byte> file_begin);

  const Creation& creation_;
  ImageLayout layout_;
  RootRequests file_;
  block::Edge* data_file_;
  block::LongWork& work_;
  block::AlignedMemory memory_;  // of one piece
};

aio::Task<Result<>> ImageWriter::run(std::vector<std::byte> file_begin, std::optional<crypto::LuksHeader> luks,
                                     crypto::Passphrase passphrase) {
  if (!memory_) co_return fail(Error::system(kHeaderFailed, Errno(ENOMEM)));
  work_.expect(layout_.tables_end() - cluster_bytes());
  CO_TRY(co_await erase_header());
  CO_TRY(co_await write_tables());
  if (luks) CO_TRY(co_await write_luks(std::move(*luks), std::move(passphrase)));
  if (preallocation_of(creation_) != Preallocation::kOff) {
    Result<> made = co_await (data_file_ == nullptr ? make_data() : make_data_file());
    CO_TRY(prefixed(std::move(made), kResizeFailed));
  }
  co_return co_await write_header(std::move(file_begin));
}

aio::Task<Result<>> ImageWriter::erase_header() {
  const std::span<std::byte> zeros = memory_.bytes().first(cluster_bytes());
  std::ranges::fill(zeros, std::byte{0});
  const bool is_old = file_.size_bytes() > 0;
  IoResult result = co_await file_.write(0, zeros);
  // The old header must be gone before the first byte of what it describes is.
  if (result && is_old) result = co_await file_.flush();
  co_return as_result(result, kHeaderFailed);
}

aio::Task<Result<>> ImageWriter::write_tables() {
  const std::uint64_t l1_offset = offset_of(layout_.l1_table().first);
  const std::uint64_t l2_offset = offset_of(layout_.l2_tables().first);
  IoResult result = co_await write_part(offset_of(layout_.refcount_table().first), l1_offset);
  if (!result) co_return as_result(result, "Could not write refcount table");
  result = co_await write_part(l1_offset, std::min(l2_offset, layout_.tables_end()));
  if (!result) co_return as_result(result, fmt::format("{}Failed to grow the L1 table", kResizeFailed));
  result = co_await write_part(l2_offset, std::max(l2_offset, layout_.tables_end()));
  co_return as_result(result, fmt::format("{}Allocating clusters failed", kResizeFailed));
}

aio::Task<IoResult> ImageWriter::write_part(std::uint64_t offset, std::uint64_t end) {
  while (offset < end) {
    CO_TRY(co_await work_.pause_point());
    const std::span<std::byte> piece =
        memory_.bytes().first(std::min<std::uint64_t>(memory_.bytes().size(), end - offset));
    layout_.fill(offset, piece);
    CO_TRY(co_await file_.write(offset, piece));
    offset += piece.size();
    work_.advance(piece.size());
  }
  co_return IoResult();
}

aio::Task<Result<>> ImageWriter::make_data() {
  constexpr const char* kFailed = "Failed to resize underlying file: ";
  const std::uint64_t offset = offset_of(layout_.data().first);
  const std::uint64_t end = offset_of(layout_.data().end());
  if (offset == end) co_return Result<>();
  Result<> made;
  switch (creation_.preallocation) {
    case Preallocation::kOff:
      break;
    case Preallocation::kMetadata:
      made = co_await empty_old_data(offset, end);
      break;
    case Preallocation::kAllocate:
      made = co_await allocate(file_, offset, end);
      break;
    case Preallocation::kWrite:
      made = co_await write_zeros(file_, offset, end);
      break;
  }
  co_return prefixed(std::move(made), kFailed);
}

// The content that the data file has stays: the image shows it.
aio::Task<Result<>> ImageWriter::make_data_file() {
  RootRequests target(*data_file_);
  const std::uint64_t offset = target.size_bytes();
  const std::uint64_t end = layout_.size_bytes();
  if (offset >= end) co_return Result<>();
  switch (creation_.preallocation) {
    case Preallocation::kOff:
    case Preallocation::kMetadata:
      co_return as_result(co_await target.grow(end), "Could not resize file");
    case Preallocation::kAllocate:
      co_return co_await allocate(target, offset, end);
    case Preallocation::kWrite:
      co_return co_await write_zeros(target, offset, end);
  }
  co_return Result<>();
}

aio::Task<Result<>> ImageWriter::allocate(RootRequests target, std::uint64_t offset, std::uint64_t end) {
  work_.expect(end - offset);
  while (offset < end) {
    const std::uint64_t length = std::min(kAllocatedPieceBytes, end - offset);
    IoResult result = co_await work_.pause_point();
    if (result) result = co_await target.write_zeroes({offset, length}, /*may_unmap=*/false);
    if (!result) co_return as_result(result, "Could not preallocate new data");
    offset += length;
    work_.advance(length);
  }
  co_return Result<>();
}

aio::Task<Result<>> ImageWriter::write_zeros(RootRequests target, std::uint64_t offset, std::uint64_t end) {
  work_.expect(end - offset);
  std::ranges::fill(memory_.bytes(), std::byte{0});
  while (offset < end) {
    const std::uint64_t length = std::min<std::uint64_t>(memory_.bytes().size(), end - offset);
    IoResult result = co_await work_.pause_point();
    if (result) result = co_await target.write(offset, memory_.bytes().first(length));
    if (!result) co_return as_result(result, "Could not write zeros for preallocation");
    offset += length;
    work_.advance(length);
  }
  co_return Result<>();
}

// The clusters of data lie where the file may have had other content.
aio::Task<Result<>> ImageWriter::empty_old_data(std::uint64_t offset, std::uint64_t end) {
  const std::uint64_t old_end = std::min(end, file_.size_bytes());
  while (offset < old_end) {
    const std::uint64_t length = std::min(kAllocatedPieceBytes, old_end - offset);
    IoResult result = co_await work_.pause_point();
    if (result) result = co_await file_.write_zeroes({offset, length}, /*may_unmap=*/true);
    if (!result) co_return as_result(result, "Could not write zeros for preallocation");
    offset += length;
  }
  if (file_.size_bytes() >= end) co_return Result<>();
  co_return as_result(co_await file_.grow(end), "Could not resize file");
}

aio::Task<Result<>> ImageWriter::write_luks(crypto::LuksHeader luks, crypto::Passphrase passphrase) {
  CO_TRY(as_result(co_await work_.pause_point(), "Could not zero fill encryption header"));
  const block::Range area{offset_of(layout_.encryption().first), offset_of(layout_.encryption().count)};
  CO_TRY(as_result(co_await file_.write_zeroes(area, /*may_unmap=*/true), "Could not zero fill encryption header"));
  RootLuksStorage storage(file_, area.offset);
  Result<crypto::NewLuks> made = co_await crypto::create_luks(storage, std::move(luks), std::move(passphrase),
                                                              creation_.encryption->iteration_time_ms);
  if (!made) co_return fail(std::move(made).error());
  co_return Result<>();
}

aio::Task<Result<>> ImageWriter::write_header(std::vector<std::byte> file_begin) {
  constexpr const char* kFlushFailed = "Could not flush the image";
  if (data_file_ != nullptr) CO_TRY(as_result(co_await RootRequests(*data_file_).flush(), kFlushFailed));
  CO_TRY(as_result(co_await file_.flush(), kFlushFailed));
  // The last moment to give up: from here on there is an image.
  CO_TRY(as_result(co_await work_.pause_point(), kHeaderFailed));
  const std::span<std::byte> cluster = memory_.bytes().first(cluster_bytes());
  std::ranges::fill(cluster, std::byte{0});
  std::ranges::copy(file_begin, cluster.begin());
  CO_TRY(as_result(co_await file_.write(0, cluster), kHeaderFailed));
  CO_TRY(as_result(co_await file_.flush(), kFlushFailed));
  // A node may accept what it does not keep.
  CO_TRY(as_result(co_await file_.read(0, cluster), "Could not read qcow2 header"));
  CO_TRY(parse_header(cluster, HeaderUse::kReadWrite));
  co_return Result<>();
}

}  // namespace

aio::Task<Result<>> create_image(Creation creation, ImageFiles files, block::LongWork& work) {
  std::optional<crypto::LuksHeader> luks;
  if (creation.encryption) {
    CO_TRY_ASSIGN(luks, crypto::make_luks_header(creation.encryption->cipher, creation.encryption->hash,
                                                 crypto::LuksPlacement::kBeforeData));
  }
  const std::uint64_t encryption_bytes = luks ? crypto::luks_header_area_bytes(*luks) : 0;
  CO_TRY_ASSIGN(ImageLayout layout, ImageLayout::of(creation, encryption_bytes));
  Header header = header_of(creation, layout);
  auto file_begin = encode_file_begin(header, extensions_of(creation, layout, encryption_bytes, files.data_file_name),
                                      creation.backing_name.value_or(""));
  if (!file_begin) {
    if (!creation.backing_name)
      co_return fail(std::move(file_begin).error().with_prefix("Could not update qcow2 header: "));
    co_return fail(Error::system(fmt::format("Could not assign backing file '{}' with format '{}'",
                                             *creation.backing_name, creation.backing_format.value_or("(null)")),
                                 Errno(ENOSPC)));
  }
  ImageWriter writer(creation, std::move(layout), files, work);
  co_return co_await writer.run(std::move(*file_begin), std::move(luks), std::move(files.passphrase));
}

}  // namespace blockexport::drivers::qcow2
