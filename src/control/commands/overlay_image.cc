#include "control/commands/overlay_image.h"

#include <fmt/format.h>

#include <memory>

#include "block/graph.h"
#include "drivers/file/create_file.h"
#include "drivers/image_names.h"
#include "jobs/creation_work.h"
#include "jobs/unwatched_steps.h"
#include "schema/image_options.h"

namespace blockexport::control {
namespace {

using schema::BlockdevDriver;

constexpr std::uint64_t kSectorBytes = 512;
// A name from the user is relative to the working directory, and not to an image.
constexpr std::string_view kInWorkingDirectory = "image";

std::optional<BlockdevDriver> driver_of(std::string_view name) {
  using Names = schema::EnumNames<BlockdevDriver>;
  for (std::size_t i = 0; i < Names::kNames.size(); ++i) {
    if (Names::kNames[i] == name) return static_cast<BlockdevDriver>(i);
  }
  return std::nullopt;
}

bool is_file(BlockdevDriver driver) {
  return driver == BlockdevDriver::kFile || driver == BlockdevDriver::kHostDevice;
}

aio::Task<Result<>> create_file(std::string filename) {
  jobs::UnwatchedSteps steps;
  co_return co_await drivers::create_file({.filename = std::move(filename), .size_bytes = 0}, steps);
}

}  // namespace

OverlayImage::OverlayImage(aio::Reactor& reactor, block::DriverTable& drivers, const Trace& trace,
                           const schema::BlockdevSnapshotSync& arguments)
    : reactor_(reactor),
      drivers_(drivers),
      trace_(trace),
      filename_(arguments.snapshot_file),
      format_(arguments.format.value_or("qcow2")),
      creates_(arguments.mode.value_or(schema::NewImageMode::kAbsolutePaths) == schema::NewImageMode::kAbsolutePaths) {}

aio::Task<Result<schema::BlockdevOptions>> OverlayImage::make(block::OverlayBase base) {
  CO_TRY(check_format());
  block::ImageReference reference{.kind = block::ReferenceKind::kBacking, .name = filename_, .format = format_};
  CO_TRY_ASSIGN(schema::BlockdevOptions options,
                co_await drivers::resolve_image_name(std::move(reference), std::string(kInWorkingDirectory),
                                                     drivers::ReferencePolicy::allow(), nullptr));
  if (creates_) {
    CO_TRY(check_creation(options, base));
    CO_TRY(co_await create(options, base));
  }
  co_return options;
}

Result<> OverlayImage::check_format() const {
  if (!driver_of(format_)) return fail(fmt::format("Unknown {} '{}'", creates_ ? "file format" : "driver", format_));
  if (!creates_) return {};
  if (filename_.starts_with("json:")) return fail("Unknown protocol 'json'");
  const BlockdevDriver format = *driver_of(format_);
  if (format == BlockdevDriver::kQcow2 || format == BlockdevDriver::kRaw || is_file(format)) return {};
  return fail(fmt::format("Format driver '{}' does not support image creation", format_));
}

// The texts and their order are those of qemu-storage-daemon.
Result<> OverlayImage::check_creation(const schema::BlockdevOptions& options, const block::OverlayBase& base) const {
  schema::BlockdevOptions lowest = options;
  const BlockdevDriver protocol = schema::lowest_file(lowest).driver();
  if (!is_file(protocol)) {
    return fail(fmt::format("Protocol driver '{}' does not support image creation", schema::name_of(protocol)));
  }
  if (options.driver() != BlockdevDriver::kQcow2)
    return fail(fmt::format("Backing file not supported for file format '{}'", format_));
  if (filename_ == base.filename) {
    return fail("Error: Trying to create an image with the same filename as the backing file");
  }
  return {};
}

aio::Task<Result<>> OverlayImage::create(const schema::BlockdevOptions& options, const block::OverlayBase& base) {
  schema::BlockdevCreateOptionsQcow2 image{.file = options.as<BlockdevDriver::kQcow2>().file};
  image.size = (base.size_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  image.backing_file = base.filename;
  image.backing_fmt = driver_of(base.format);
  // An error of the options leaves a file of that name as it is.
  const drivers::qcow2::Creation checked = jobs::qcow2_creation_of(image);
  CO_TRY(drivers::qcow2::check_creation(checked));
  CO_TRY(drivers::qcow2::check_sizes(checked));
  const schema::BlockdevOptions* const file = image.file.definition();
  if (const auto* regular = file->as_if<BlockdevDriver::kFile>()) CO_TRY(co_await create_file(regular->filename));
  schema::BlockdevCreateOptions creation;
  creation.branch.emplace<static_cast<std::size_t>(BlockdevDriver::kQcow2)>(std::move(image));
  block::Graph graph(reactor_, drivers_, trace_);
  CO_TRY_ASSIGN(const std::unique_ptr<jobs::JobWork> work, jobs::creation_work(graph, creation));
  Result<> created = co_await jobs::run_unwatched(*work);
  co_await graph.close();
  co_return created;
}

}  // namespace blockexport::control
