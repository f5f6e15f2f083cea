#include "drivers/driver_table.h"

#include <fmt/format.h>

#include "block/bitmap/dirty_bitmap.h"
#include "block/chain.h"
#include "drivers/blkdebug/blkdebug_driver.h"
#include "drivers/blkdebug/rule_file.h"
#include "drivers/blklogwrites/blklogwrites_driver.h"
#include "drivers/blkverify/blkverify_driver.h"
#include "drivers/compress/compress_driver.h"
#include "drivers/copy_before_write/copy_before_write_driver.h"
#include "drivers/copy_on_read/copy_on_read_driver.h"
#include "drivers/file/file_driver.h"
#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/read_only.h"
#include "drivers/image_names.h"
#include "drivers/luks/luks_driver.h"
#include "drivers/null/null_driver.h"
#include "drivers/options.h"
#include "drivers/preallocate/preallocate_driver.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/quorum/quorum_driver.h"
#include "drivers/raw/raw_driver.h"
#include "drivers/snapshot_access/snapshot_access_driver.h"
#include "drivers/throttle/throttle_driver.h"

namespace blockexport::drivers {
namespace {

using Opened = Result<std::unique_ptr<block::Driver>>;

template <class Driver>
Opened as_driver(Result<std::unique_ptr<Driver>> opened) {
  if (!opened) return fail(std::move(opened).error());
  return std::move(*opened);
}

Opened open_null(const schema::BlockdevOptionsNull& options, std::string_view format_name) {
  TRY_ASSIGN(NullOptions null, null_options(options, format_name));
  return std::make_unique<NullDriver>(null);
}

aio::Task<Opened> open_qcow2(const schema::BlockdevOptionsQcow2& options, const block::NodeOptions& node_options,
                             block::ChildOpener& children, qcow2::CorruptionReport corruption, SecretSource* secrets) {
  co_return as_driver(co_await qcow2::open_qcow2(options, node_options, children, corruption, secrets));
}

aio::Task<Opened> open_blkdebug(const schema::BlockdevOptionsBlkdebug& options, block::ChildOpener& children) {
  FaultRuleList rules;
  if (options.config) {
    CO_TRY_ASSIGN(rules, co_await read_rules(*options.config));
  }
  CO_TRY_ASSIGN(BlkdebugOptions plain, blkdebug_options(options));
  rules.errors.insert(rules.errors.end(), plain.rules.errors.begin(), plain.rules.errors.end());
  rules.states.insert(rules.states.end(), plain.rules.states.begin(), plain.rules.states.end());
  CO_TRY(check_number_of_rules(rules));
  plain.rules = std::move(rules);
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> image,
                co_await children.open_child(options.image, "image", block::ChildRole::kFiltered));
  co_return as_driver(BlkdebugDriver::open(std::move(plain), std::move(image)));
}

aio::Task<Opened> open_raw(const schema::BlockdevOptionsRaw& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(RawOptions raw, raw_options(options));
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kData));
  co_return as_driver(RawDriver::open(raw, std::move(file)));
}

aio::Task<Opened> open_compress(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kFiltered));
  co_return as_driver(CompressDriver::open(std::move(file)));
}

// The bits of the bitmap that says what belongs to a point in time of a disk of that size; null without a bitmap.
Result<const block::DirtyBits*> bits_of(const std::optional<schema::BlockDirtyBitmap>& bitmap, std::uint64_t size_bytes,
                                        block::ChildOpener& children) {
  if (!bitmap) return nullptr;
  TRY_ASSIGN(const block::DirtyBitmap* found, children.find_bitmap(bitmap->node, bitmap->name));
  if (Result<> checked = found->check_source(size_bytes); !checked) {
    return fail(std::move(checked).error().with_prefix(fmt::format(
        "Cannot create block-copy-state: Failed to merge bitmap '{}' to internal copy-bitmap: ", bitmap->name)));
  }
  return &found->bits();
}

aio::Task<Opened> open_copy_before_write(const schema::BlockdevOptionsCbw& options, block::ChildOpener& children,
                                         block::PointInTimeObserver* observer) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kFiltered));
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> target,
                co_await children.open_child(options.target, "target", block::ChildRoles()));
  CO_TRY_ASSIGN(const CopyBeforeWriteOptions plain, copy_before_write_options(options));
  CO_TRY_ASSIGN(const block::DirtyBits* only, bits_of(options.bitmap, file->node().size_bytes(), children));
  co_return as_driver(CopyBeforeWriteDriver::open(plain, std::move(file), std::move(target), only, observer));
}

aio::Task<Opened> open_snapshot_access(const schema::BlockdevOptionsGenericFormat& options,
                                       block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kData));
  co_return as_driver(SnapshotAccessDriver::open(std::move(file)));
}

aio::Task<Opened> open_quorum(const schema::BlockdevOptionsQuorum& options, block::ChildOpener& children,
                              const Log* log, block::QuorumObserver* observer) {
  CO_TRY_ASSIGN(const QuorumOptions plain, quorum_options(options));
  std::vector<std::unique_ptr<block::Edge>> edges;
  for (std::size_t i = 0; i < options.children.size(); ++i) {
    const std::string name = fmt::format("children.{}", i);
    CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge,
                  co_await children.open_child(options.children[i], name, block::ChildRole::kData));
    edges.push_back(std::move(edge));
  }
  co_return as_driver(QuorumDriver::open(plain, std::move(edges), log, observer));
}

// The node that the option names. The edge that leads to it is dropped again: the filter holds no share of it.
aio::Task<Result<const block::Node*>> find_bottom(const std::string& name, block::ChildOpener& children) {
  const schema::BlockdevRef reference{name};
  auto edge = co_await children.open_child(reference, "bottom", block::ChildRoles());
  if (!edge) co_return fail(fmt::format("Bottom node '{}' not found", name));
  block::Node& node = (*edge)->node();
  // A raw node is a format in the reference.
  if (block::filtered_node(node) != nullptr && node.driver().format_name() != "raw") {
    co_return fail(fmt::format("Bottom node '{}' is a filter", name));
  }
  co_return &node;
}

aio::Task<Opened> open_copy_on_read(const schema::BlockdevOptionsCor& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kFiltered));
  const block::Node* bottom = nullptr;
  if (options.bottom) {
    CO_TRY_ASSIGN(bottom, co_await find_bottom(*options.bottom, children));
  }
  co_return as_driver(CopyOnReadDriver::open(std::move(file), bottom));
}

aio::Task<Opened> open_preallocate(const schema::BlockdevOptionsPreallocate& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kFiltered));
  CO_TRY_ASSIGN(const PreallocateOptions plain, preallocate_options(options));
  co_return std::make_unique<PreallocateDriver>(plain, std::move(file));
}

aio::Task<Opened> open_throttle(const schema::BlockdevOptionsThrottle& options, block::ChildOpener& children,
                                ThrottleDirectory* groups) {
  if (children.is_named_by_image()) {
    co_return fail(
        Error(fmt::format("An image cannot refer to the throttle group '{}'", options.throttle_group))
            .with_hint("Only options of a node that the user defines may name what belongs to this daemon."));
  }
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kFiltered));
  co_return as_driver(ThrottleDriver::open(groups, options.throttle_group, std::move(file)));
}

aio::Task<Opened> open_blkverify(const schema::BlockdevOptionsBlkverify& options, block::ChildOpener& children,
                                 const Log* log) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> raw,
                co_await children.open_child(options.raw, "raw", block::ChildRole::kFiltered));
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> test,
                co_await children.open_child(options.test, "test", block::ChildRole::kData));
  co_return std::make_unique<BlkverifyDriver>(std::move(test), std::move(raw), log);
}

aio::Task<Opened> open_blklogwrites(const schema::BlockdevOptionsBlklogwrites& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kFiltered));
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> log,
                co_await children.open_child(options.log, "log", block::ChildRoles()));
  CO_TRY_ASSIGN(const BlklogwritesOptions plain, blklogwrites_options(options));
  co_return as_driver(co_await BlklogwritesDriver::open(plain, std::move(file), std::move(log)));
}

}  // namespace

aio::Task<Opened> BuiltInDrivers::open_file(const schema::BlockdevOptionsFile& options,
                                            const block::NodeOptions& node_options, block::ChildOpener& children,
                                            FileType type) const {
  FileOptions file = file_options(options, node_options, type);
  if (children.is_named_by_image()) file.beneath = references_.directories();
  co_return as_driver(co_await FileDriver::open(std::move(file)));
}

aio::Task<Result<schema::BlockdevOptions>> BuiltInDrivers::resolve(block::ImageReference reference,
                                                                   std::string image_path) {
  co_return co_await resolve_image_name(std::move(reference), std::move(image_path), references_, log_);
}

// -Wswitch reports a driver of the schema that is missing here.
aio::Task<Opened> BuiltInDrivers::open(const schema::BlockdevOptions& options, const block::NodeOptions& node_options,
                                       block::ChildOpener& children) {
  using schema::BlockdevDriver;
  switch (options.driver()) {
    case BlockdevDriver::kBlkdebug:
      co_return co_await open_blkdebug(options.as<BlockdevDriver::kBlkdebug>(), children);
    case BlockdevDriver::kBlklogwrites:
      co_return co_await open_blklogwrites(options.as<BlockdevDriver::kBlklogwrites>(), children);
    case BlockdevDriver::kBlkverify:
      co_return co_await open_blkverify(options.as<BlockdevDriver::kBlkverify>(), children, log_);
    case BlockdevDriver::kCompress:
      co_return co_await open_compress(options.as<BlockdevDriver::kCompress>(), children);
    case BlockdevDriver::kCopyBeforeWrite:
      co_return co_await open_copy_before_write(options.as<BlockdevDriver::kCopyBeforeWrite>(), children, observer_);
    case BlockdevDriver::kCopyOnRead:
      co_return co_await open_copy_on_read(options.as<BlockdevDriver::kCopyOnRead>(), children);
    case BlockdevDriver::kFile:
      co_return co_await open_file(options.as<BlockdevDriver::kFile>(), node_options, children, FileType::kRegular);
    case BlockdevDriver::kHostDevice:
      co_return co_await open_file(options.as<BlockdevDriver::kHostDevice>(), node_options, children,
                                   FileType::kDevice);
    case BlockdevDriver::kLuks:
      co_return as_driver(co_await open_luks(options.as<BlockdevDriver::kLuks>(), children, secrets_));
    case BlockdevDriver::kNullAio:
      co_return open_null(options.as<BlockdevDriver::kNullAio>(), "null-aio");
    case BlockdevDriver::kNullCo:
      co_return open_null(options.as<BlockdevDriver::kNullCo>(), "null-co");
    case BlockdevDriver::kParallels:
      CO_TRY(foreign::check_read_only(options, "parallels"));
      co_return as_driver(co_await foreign::open_parallels(options.as<BlockdevDriver::kParallels>(), children));
    case BlockdevDriver::kPreallocate:
      co_return co_await open_preallocate(options.as<BlockdevDriver::kPreallocate>(), children);
    case BlockdevDriver::kQcow2:
      co_return co_await open_qcow2(options.as<BlockdevDriver::kQcow2>(), node_options, children,
                                    {log_, corruption_observer_}, secrets_);
    case BlockdevDriver::kQuorum:
      co_return co_await open_quorum(options.as<BlockdevDriver::kQuorum>(), children, log_, quorum_observer_);
    case BlockdevDriver::kRaw:
      co_return co_await open_raw(options.as<BlockdevDriver::kRaw>(), children);
    case BlockdevDriver::kSnapshotAccess:
      co_return co_await open_snapshot_access(options.as<BlockdevDriver::kSnapshotAccess>(), children);
    case BlockdevDriver::kThrottle:
      co_return co_await open_throttle(options.as<BlockdevDriver::kThrottle>(), children, throttle_groups_);
    case BlockdevDriver::kVdi:
      CO_TRY(foreign::check_read_only(options, "vdi"));
      co_return as_driver(co_await foreign::open_vdi(options.as<BlockdevDriver::kVdi>(), children));
    case BlockdevDriver::kVhdx:
      CO_TRY(foreign::check_read_only(options, "vhdx"));
      co_return as_driver(co_await foreign::open_vhdx(options.as<BlockdevDriver::kVhdx>(), children));
    case BlockdevDriver::kVmdk:
      CO_TRY(foreign::check_read_only(options, "vmdk"));
      co_return as_driver(co_await foreign::open_vmdk(options.as<BlockdevDriver::kVmdk>(), children));
    case BlockdevDriver::kVpc:
      CO_TRY(foreign::check_read_only(options, "vpc"));
      co_return as_driver(co_await foreign::open_vpc(options.as<BlockdevDriver::kVpc>(), children));
  }
  co_return fail("Unknown driver");
}

}  // namespace blockexport::drivers
