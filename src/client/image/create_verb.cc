#include "client/image/create_verb.h"

#include <fmt/format.h>

#include "base/print.h"
#include "client/image/image_graph.h"
#include "client/image/info_verb.h"
#include "client/image/new_file.h"
#include "jobs/creation_work.h"
#include "jobs/unwatched_steps.h"

namespace blockexport::image {
namespace {

using schema::BlockdevCreateOptions;
using schema::BlockdevDriver;

Result<> create(ImageGraph& images, const BlockdevCreateOptions& options) {
  TRY_ASSIGN(const std::unique_ptr<jobs::JobWork> work, jobs::creation_work(images.graph(), options));
  return images.run(jobs::run_unwatched(*work));
}

// Opens the backing file and its chain, unless there is none or the user forbids it; takes its size if none was given.
Result<std::unique_ptr<ImageGraph>> open_backing(const CreateOptions& options, json::Object& words) {
  const json::Value* const name = words.find("backing-file");
  if (name == nullptr) return nullptr;
  if (name->as_string()->empty()) return fail("Expected backing file name, got empty string");
  if (*name->as_string() == options.filename) {
    return fail("Error: Trying to create an image with the same filename as the backing file");
  }
  const json::Value* const format = words.find("backing-fmt");
  if (format == nullptr) {
    return fail(Error("Backing file specified without backing format").with_hint("Name the format with -F."));
  }
  if (options.is_unsafe) return nullptr;
  TRY_ASSIGN(auto images, ImageGraph::create());
  auto backing = images->open_backing({.name = *name->as_string(), .format = *format->as_string()}, options.filename);
  if (!backing) return fail(std::move(backing).error().with_hint("Could not open backing image."));
  words.insert("size", std::to_string((*backing)->size_bytes()));
  return images;
}

Result<BlockdevCreateOptions> create_raw(const CreateOptions& options, const json::Object& words) {
  if (is_block_device(options.filename)) {
    return fail(fmt::format("'{}' is a block device, which is a raw image by itself", options.filename));
  }
  TRY_ASSIGN(BlockdevCreateOptions creation, file_creation_of(words, options.filename, true));
  TRY_ASSIGN(const auto images, ImageGraph::create());
  NewFile file(options.filename);
  TRY(create(*images, creation));
  file.keep();
  return creation;
}

Result<BlockdevCreateOptions> create_qcow2(const CreateOptions& options, json::Object words) {
  TRY_ASSIGN(BlockdevCreateOptions creation, qcow2_creation_of(words, file_options(options.filename)));
  const auto checked = jobs::qcow2_creation_of(creation.as<BlockdevDriver::kQcow2>());
  TRY(drivers::qcow2::check_creation(checked));
  TRY(drivers::qcow2::check_sizes(checked));
  TRY_ASSIGN(const auto images, ImageGraph::create());
  const auto create_file = [&](const std::string& filename) -> Result<> {
    if (is_block_device(filename)) return {};
    TRY_ASSIGN(const BlockdevCreateOptions below, file_creation_of(words, filename, false));
    return create(*images, below);
  };
  NewFile file(options.filename);
  TRY(create_file(options.filename));
  std::optional<NewFile> data_file;
  if (const json::Value* const name = words.find("data-file")) {
    data_file.emplace(*name->as_string());
    TRY(create_file(*name->as_string()));
  }
  TRY(create(*images, creation));
  file.keep();
  if (data_file) data_file->keep();
  return creation;
}

Result<> create_and_print(const CreateOptions& options) {
  TRY_ASSIGN(json::Object words, create_words(options));
  // It stays open meanwhile, so that its locks keep the new image from its place.
  TRY_ASSIGN(const auto backing, open_backing(options, words));
  if (words.find("size") == nullptr) return fail("Image creation needs a size parameter");
  TRY_ASSIGN(const BlockdevCreateOptions made,
             options.format == "raw" ? create_raw(options, words) : create_qcow2(options, words));
  if (options.wants_json()) {
    ImageOptions shown;
    shown.filename = options.filename;
    shown.format = options.format;
    shown.is_json = true;
    return print_info(shown);
  }
  if (!options.is_quiet) print(stdout, "{}\n", formatting_text(options.filename, words, made));
  return {};
}

}  // namespace

Result<> create_image(const CreateOptions& options) {
  Result<> done = create_and_print(options);
  if (!done) return fail(std::move(done).error().with_prefix(fmt::format("{}: ", options.filename)));
  return {};
}

}  // namespace blockexport::image
