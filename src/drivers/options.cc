#include "drivers/options.h"

#include <fmt/format.h>

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

Error changed_option(std::string_view name, bool left_out) {
  if (left_out) return Error(fmt::format("Option '{}' cannot be reset to its default value", name));
  return Error(fmt::format("Cannot change the option '{}'", name));
}

}  // namespace blockexport::drivers
