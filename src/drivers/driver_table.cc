#include "drivers/driver_table.h"

#include "drivers/file/file_driver.h"
#include "drivers/null/null_driver.h"
#include "drivers/options.h"
#include "drivers/raw/raw_driver.h"

namespace blockexport::drivers {
namespace {

using Opened = Result<std::unique_ptr<block::Driver>>;

template <class Driver>
Opened as_driver(Result<std::unique_ptr<Driver>> opened) {
  if (!opened) return fail(std::move(opened).error());
  return std::move(*opened);
}

aio::Task<Opened> open_file(const schema::BlockdevOptionsFile& options, const block::NodeOptions& node_options,
                            FileType type) {
  co_return as_driver(co_await FileDriver::open(file_options(options, node_options, type)));
}

Opened open_null(const schema::BlockdevOptionsNull& options, std::string_view format_name) {
  TRY_ASSIGN(NullOptions null, null_options(options, format_name));
  return std::make_unique<NullDriver>(null);
}

aio::Task<Opened> open_raw(const schema::BlockdevOptionsRaw& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(RawOptions raw, raw_options(options));
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file,
                co_await children.open_child(options.file, "file", block::ChildRole::kData));
  co_return as_driver(RawDriver::open(raw, std::move(file)));
}

}  // namespace

// -Wswitch reports a driver of the schema that is missing here.
aio::Task<Opened> BuiltInDrivers::open(const schema::BlockdevOptions& options, const block::NodeOptions& node_options,
                                       block::ChildOpener& children) {
  using schema::BlockdevDriver;
  switch (options.driver()) {
    case BlockdevDriver::kFile:
      co_return co_await open_file(options.as<BlockdevDriver::kFile>(), node_options, FileType::kRegular);
    case BlockdevDriver::kHostDevice:
      co_return co_await open_file(options.as<BlockdevDriver::kHostDevice>(), node_options, FileType::kDevice);
    case BlockdevDriver::kNullAio:
      co_return open_null(options.as<BlockdevDriver::kNullAio>(), "null-aio");
    case BlockdevDriver::kNullCo:
      co_return open_null(options.as<BlockdevDriver::kNullCo>(), "null-co");
    case BlockdevDriver::kRaw:
      co_return co_await open_raw(options.as<BlockdevDriver::kRaw>(), children);
  }
  co_return fail("Unknown driver");
}

}  // namespace blockexport::drivers
