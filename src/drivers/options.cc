#include "drivers/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "block/bitmap/dirty_bits.h"
#include "drivers/blkdebug/rule_file.h"
#include "drivers/preallocate/preallocate_options.h"

namespace blockexport::drivers {
namespace {

FileLocking locking_of(schema::OnOffAuto locking) {
  switch (locking) {
    case schema::OnOffAuto::kAuto:
      return FileLocking::kAuto;
    case schema::OnOffAuto::kOn:
      return FileLocking::kOn;
    case schema::OnOffAuto::kOff:
      return FileLocking::kOff;
  }
  return FileLocking::kAuto;
}

FileAio aio_of(schema::BlockdevAioOptions aio) {
  switch (aio) {
    case schema::BlockdevAioOptions::kThreads:
      return FileAio::kThreads;
    case schema::BlockdevAioOptions::kNative:
      return FileAio::kNative;
    case schema::BlockdevAioOptions::kIoUring:
      return FileAio::kIoUring;
  }
  return FileAio::kThreads;
}

// The schema's sizes are signed.
Result<std::uint64_t> size_of(std::string_view name, std::int64_t value) {
  if (value >= 0) return static_cast<std::uint64_t>(value);
  return fail(fmt::format("Value '{}' is out of range for parameter '{}'", value, name));
}

// The schema's size of a limit; 0: none.
Result<> take_limit(std::string_view name, const std::optional<std::int64_t>& value, std::uint64_t& limit) {
  if (!value) return {};
  TRY_ASSIGN(limit, size_of(name, *value));
  return {};
}

block::PermissionSet permissions_of(const std::optional<std::vector<schema::BlockPermission>>& list) {
  block::PermissionSet set;
  if (!list) return set;
  for (schema::BlockPermission permission : *list) set = set | static_cast<block::Permission>(permission);
  return set;
}

Result<InjectErrorRule> rule_of(const schema::BlkdebugInjectErrorOptions& options) {
  InjectErrorRule rule{.event = static_cast<block::DebugEvent>(options.event),
                       .state = options.state.value_or(0),
                       .once = options.once.value_or(false),
                       .immediately = options.immediately.value_or(false)};
  if (options.iotype) rule.kind = static_cast<RequestKind>(*options.iotype);
  return check_rule(rule, options.errno_.value_or(EIO), options.delay_ns.value_or(0), options.sector.value_or(-1));
}

}  // namespace

FileOptions file_options(const schema::BlockdevOptionsFile& options, const block::NodeOptions& node_options,
                         FileType type) {
  return {
      .filename = options.filename,
      .type = type,
      .read_only = node_options.read_only,
      .auto_read_only = node_options.auto_read_only,
      .direct = node_options.cache_direct,
      .no_flush = node_options.cache_no_flush,
      .locking = locking_of(options.locking.value_or(schema::OnOffAuto::kAuto)),
      .drop_cache = options.drop_cache.value_or(true),
      .keep_cached = options.page_cache.value_or(schema::BlockdevPageCache::kKeep) != schema::BlockdevPageCache::kDrop,
      .aio = aio_of(options.aio.value_or(schema::BlockdevAioOptions::kThreads))};
}

Result<BlkdebugOptions> blkdebug_options(const schema::BlockdevOptionsBlkdebug& options) {
  BlkdebugOptions result{.take = permissions_of(options.take_child_perms),
                         .unshare = permissions_of(options.unshare_child_perms)};
  BlkdebugLimits& limits = result.limits;
  TRY(take_limit("align", options.align, limits.alignment));
  TRY(take_limit("max-transfer", options.max_transfer, limits.transfer_bytes_max));
  TRY(take_limit("opt-write-zero", options.opt_write_zero, limits.zeroes_alignment));
  TRY(take_limit("max-write-zero", options.max_write_zero, limits.zeroes_bytes_max));
  TRY(take_limit("opt-discard", options.opt_discard, limits.discard_alignment));
  TRY(take_limit("max-discard", options.max_discard, limits.discard_bytes_max));
  for (const auto& rule : options.inject_error.value_or(std::vector<schema::BlkdebugInjectErrorOptions>())) {
    result.rules.errors.emplace_back();
    TRY_ASSIGN(result.rules.errors.back(), rule_of(rule));
  }
  for (const auto& rule : options.set_state.value_or(std::vector<schema::BlkdebugSetStateOptions>())) {
    result.rules.states.push_back({.event = static_cast<block::DebugEvent>(rule.event),
                                   .state = rule.state.value_or(0),
                                   .new_state = rule.new_state});
  }
  return result;
}

Result<NullOptions> null_options(const schema::BlockdevOptionsNull& options, std::string_view format_name) {
  NullOptions result{.format_name = format_name};
  if (options.size) {
    TRY_ASSIGN(result.size_bytes, size_of("size", *options.size));
  }
  result.latency_ns = options.latency_ns.value_or(0);
  if (result.latency_ns > INT64_MAX) return fail("latency-ns is invalid");
  result.read_zeroes = options.read_zeroes.value_or(false);
  return result;
}

Result<RawOptions> raw_options(const schema::BlockdevOptionsRaw& options) {
  RawOptions result;
  TRY_ASSIGN(result.offset, size_of("offset", options.offset.value_or(0)));
  if (options.size) {
    TRY_ASSIGN(result.size_bytes, size_of("size", *options.size));
  }
  return result;
}

Result<PreallocateOptions> preallocate_options(const schema::BlockdevOptionsPreallocate& options) {
  PreallocateOptions result;
  if (options.prealloc_align) {
    TRY_ASSIGN(result.alignment_bytes, size_of("prealloc-align", *options.prealloc_align));
  }
  if (options.prealloc_size) {
    TRY_ASSIGN(result.step_bytes, size_of("prealloc-size", *options.prealloc_size));
  }
  if (result.alignment_bytes % 512 != 0) {
    return fail("prealloc-align parameter of preallocate filter is not aligned to 512");
  }
  return result;
}

Result<CopyBeforeWriteOptions> copy_before_write_options(const schema::BlockdevOptionsCbw& options) {
  constexpr std::string_view kPrefix = "Cannot create block-copy-state: min-cluster-size";
  CopyBeforeWriteOptions result;
  const std::uint64_t wanted_bytes = options.min_cluster_size.value_or(0);
  if (wanted_bytes > INT64_MAX) return fail(fmt::format("{} too large: {} > {}", kPrefix, wanted_bytes, INT64_MAX));
  if (wanted_bytes != 0 && !std::has_single_bit(wanted_bytes)) {
    return fail(fmt::format("{} needs to be a power of 2", kPrefix));
  }
  if (wanted_bytes > block::DirtyBits::kGranularityBytesMax) {
    return fail(fmt::format("{} too large: {} > {}", kPrefix, wanted_bytes, block::DirtyBits::kGranularityBytesMax));
  }
  result.cluster_bytes = std::max(CopyBeforeWriteOptions::kClusterBytesMin, static_cast<std::uint32_t>(wanted_bytes));
  switch (options.on_cbw_error.value_or(schema::OnCbwError::kBreakGuestWrite)) {
    case schema::OnCbwError::kBreakGuestWrite:
      result.on_error = OnCopyError::kFailRequest;
      break;
    case schema::OnCbwError::kBreakSnapshot:
      result.on_error = OnCopyError::kGiveUpPointInTime;
      break;
  }
  result.timeout_ns = std::uint64_t{options.cbw_timeout.value_or(0)} * 1'000'000'000;
  return result;
}

Result<> check_same_bitmap(const schema::BlockdevOptionsCbw& before, const schema::BlockdevOptionsCbw& after) {
  const bool same =
      before.bitmap.has_value() == after.bitmap.has_value() &&
      (!after.bitmap || (before.bitmap->node == after.bitmap->node && before.bitmap->name == after.bitmap->name));
  if (same) return {};
  return fail(changed_option("bitmap", !after.bitmap));
}

Error changed_option(std::string_view name, bool left_out) {
  if (left_out) return Error(fmt::format("Option '{}' cannot be reset to its default value", name));
  return Error(fmt::format("Cannot change the option '{}'", name));
}

}  // namespace blockexport::drivers
