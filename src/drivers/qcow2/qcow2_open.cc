#include "drivers/qcow2/qcow2_open.h"

#include <fmt/format.h>

#include "aio/task/current.h"
#include "base/printable.h"
#include "block/graph.h"
#include "drivers/qcow2/qcow2_encryption.h"
#include "drivers/qcow2/qcow2_repair.h"

namespace blockexport::drivers::qcow2 {
namespace {

using OpenedEdge = Result<std::unique_ptr<block::Edge>>;

aio::Task<OpenedEdge> open_data_file(const schema::BlockdevOptionsQcow2& options, const ImageContent& image,
                                     const block::Edge& file, block::ChildOpener& children) {
  if (!image.header.has_data_file()) {
    if (options.data_file) co_return fail("'data-file' can only be set for images with an external data file");
    if (image.header.has_raw_data_file()) co_return fail("data-file-raw requires a data file");
    co_return nullptr;
  }
  if (options.data_file) {
    co_return co_await children.open_child(*options.data_file, "data-file", block::ChildRole::kData);
  }
  if (std::optional<std::string> name = image.extensions.data_file_name()) {
    co_return co_await children.open_named_child(
        {.kind = block::ReferenceKind::kDataFile, .name = std::move(*name), .format = {}}, file,
        block::ChildRole::kData);
  }
  co_return fail("'data-file' is required for this image");
}

aio::Task<OpenedEdge> open_backing(const schema::BlockdevOptionsQcow2& options, const ImageContent& image,
                                   const block::Edge& file, block::ChildOpener& children) {
  if (options.backing) {
    const std::optional<schema::BlockdevRef> reference = block::as_reference(*options.backing);
    if (!reference) co_return nullptr;
    co_return co_await children.open_child(*reference, "backing", block::ChildRole::kBacking);
  }
  if (!image.backing_name || image.backing_name->empty()) co_return nullptr;
  co_return co_await children.open_named_child({.kind = block::ReferenceKind::kBacking,
                                                .name = *image.backing_name,
                                                .format = image.extensions.backing_format().value_or("")},
                                               file, block::ChildRole::kBacking);
}

}  // namespace

bool is_to_be_read_only(const block::NodeOptions& node_options, const block::Node& file) {
  return node_options.read_only || (node_options.auto_read_only && file.read_only());
}

aio::Task<Result<std::unique_ptr<Qcow2Driver>>> open_qcow2(const schema::BlockdevOptionsQcow2& options,
                                                           const block::NodeOptions& node_options,
                                                           block::ChildOpener& children, CorruptionReport corruption,
                                                           SecretSource* secrets) {
  CO_TRY_ASSIGN(Qcow2Options plain, qcow2_options(options, node_options));
  Qcow2Driver::Children edges;
  CO_TRY_ASSIGN(edges.file, co_await children.open_child(options.file, "file",
                                                         block::ChildRole::kData | block::ChildRole::kMetadata));
  const bool read_only = is_to_be_read_only(node_options, edges.file->node());
  CO_TRY_ASSIGN(ImageBegin begin,
                co_await read_image_begin(edges.file->node(), read_only ? HeaderUse::kRead : HeaderUse::kReadWrite));
  if (!read_only && begin.header.is_dirty()) {
    CO_TRY(co_await repair_before_writing(edges.file->node()));
    CO_TRY_ASSIGN(begin, co_await read_image_begin(edges.file->node(), HeaderUse::kReadWrite));
  }
  const Header& header = begin.header;
  if (!ClusterDecompressor::is_built(header.compression_type)) {
    co_return fail(fmt::format("qcow2: unknown compression type: {}", static_cast<int>(header.compression_type)));
  }
  CO_TRY_ASSIGN(const Qcow2CacheSizes sizes, cache_sizes(plain, header));
  CO_TRY(check_options(plain, header));
  CO_TRY(check_encryption(header, plain.encryption_format));
  CO_TRY_ASSIGN(ImageContent image, co_await read_image(edges.file->node(), std::move(begin)));
  if (image.has_invalid_bitmaps) corruption.tell_stale_bitmaps(edges.file->node().driver().filename());
  CO_TRY_ASSIGN(edges.data_file, co_await open_data_file(options, image, *edges.file, children));
  if (edges.data_file != nullptr) edges.file->set_roles(block::ChildRole::kMetadata);
  CO_TRY_ASSIGN(edges.backing, co_await open_backing(options, image, *edges.file, children));
  CO_TRY_ASSIGN(Qcow2Driver::Encryption encryption,
                co_await open_encryption(edges.file->node(), image, plain.key_secret, secrets));
  auto driver = std::make_unique<Qcow2Driver>(co_await aio::current_reactor(), std::move(plain), sizes,
                                              std::move(image), std::move(edges), std::move(encryption), corruption);
  if (!read_only) CO_TRY(co_await driver->begin_writing());
  co_return driver;
}

}  // namespace blockexport::drivers::qcow2
