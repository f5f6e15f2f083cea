#include "client/image/create_verb.h"

#include <fmt/format.h>

#include "base/print.h"
#include "client/image/image_graph.h"
#include "client/image/info_verb.h"
#include "client/image/new_file.h"
#include "drivers/encryption/passphrases.h"
#include "jobs/creation_work.h"
#include "jobs/luks_options.h"
#include "jobs/unwatched_steps.h"

namespace blockexport::image {
namespace {

using schema::BlockdevCreateOptions;
using schema::BlockdevDriver;

Result<> create(ImageGraph& images, const BlockdevCreateOptions& options) {
  TRY_ASSIGN(const std::unique_ptr<jobs::JobWork> work,
             jobs::creation_work(images.graph(), options, &images.secrets()));
  return images.run(jobs::run_unwatched(*work));
}

// Opens the backing file and its chain, unless there is none or the user forbids it; takes its size if none was given.
Result<std::unique_ptr<ImageGraph>> open_backing(const CreateOptions& options, const ImageSecrets& secrets,
                                                 json::Object& words) {
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
  TRY_ASSIGN(auto images, ImageGraph::create(secrets));
  // Its size is all that matters.
  images->secrets().open_locked_images();
  auto backing = images->open_backing({.name = *name->as_string(), .format = *format->as_string()}, options.filename);
  if (!backing) return fail(std::move(backing).error().with_hint("Could not open backing image."));
  words.insert("size", std::to_string((*backing)->size_bytes()));
  return images;
}

Result<BlockdevCreateOptions> create_raw(const CreateOptions& options, const ImageSecrets& secrets,
                                         const json::Object& words) {
  if (is_block_device(options.filename)) {
    return fail(fmt::format("'{}' is a block device, which is a raw image by itself", options.filename));
  }
  TRY_ASSIGN(BlockdevCreateOptions creation, file_creation_of(words, options.filename, true));
  TRY_ASSIGN(const auto images, ImageGraph::create(secrets));
  NewFile file(options.filename);
  TRY(create(*images, creation));
  file.keep();
  return creation;
}

// Makes the file below an image; a device is there already.
Result<> create_file_below(ImageGraph& images, const std::string& filename, const json::Object& words) {
  if (is_block_device(filename)) return {};
  TRY_ASSIGN(const BlockdevCreateOptions below, file_creation_of(words, filename, false));
  return create(images, below);
}

// Mistakes are reported before the old file is lost. `prefix`: of the options' names.
template <class Options>
Result<> check_luks(ImageGraph& images, const Options& options, std::string_view prefix) {
  const crypto::LuksParameters parameters = jobs::luks_parameters_of(options);
  TRY(crypto::make_luks_header(parameters.cipher, parameters.hash, crypto::LuksPlacement::kBeforeData));
  TRY(drivers::find_passphrase(&images.secrets(), options.key_secret, prefix));
  return {};
}

Result<> check_encryption(ImageGraph& images, const schema::QCryptoBlockCreateOptions& options) {
  using Format = schema::QCryptoBlockFormat;
  if (options.format() == Format::kLuks) return check_luks(images, options.as<Format::kLuks>(), "encrypt.");
  return fail(Error("New images are not encrypted with AES as qcow2 has it").with_hint("Use encrypt.format=luks."));
}

Result<BlockdevCreateOptions> create_luks(const CreateOptions& options, const ImageSecrets& secrets,
                                          const json::Object& words) {
  TRY_ASSIGN(BlockdevCreateOptions creation, luks_creation_of(words, file_options(options.filename)));
  TRY_ASSIGN(const auto images, ImageGraph::create(secrets));
  TRY(check_luks(*images, creation.as<BlockdevDriver::kLuks>(), ""));
  NewFile file(options.filename);
  TRY(create_file_below(*images, options.filename, words));
  TRY(create(*images, creation));
  file.keep();
  return creation;
}

Result<BlockdevCreateOptions> create_qcow2(const CreateOptions& options, const ImageSecrets& secrets,
                                           const json::Object& words) {
  TRY_ASSIGN(BlockdevCreateOptions creation, qcow2_creation_of(words, file_options(options.filename)));
  const auto checked = jobs::qcow2_creation_of(creation.as<BlockdevDriver::kQcow2>());
  TRY(drivers::qcow2::check_creation(checked));
  TRY(drivers::qcow2::check_sizes(checked));
  TRY_ASSIGN(const auto images, ImageGraph::create(secrets));
  if (const auto& encryption = creation.as<BlockdevDriver::kQcow2>().encrypt) {
    TRY(check_encryption(*images, *encryption));
  }
  NewFile file(options.filename);
  TRY(create_file_below(*images, options.filename, words));
  std::optional<NewFile> data_file;
  if (const json::Value* const name = words.find("data-file")) {
    data_file.emplace(*name->as_string());
    TRY(create_file_below(*images, *name->as_string(), words));
  }
  TRY(create(*images, creation));
  file.keep();
  if (data_file) data_file->keep();
  return creation;
}

Result<BlockdevCreateOptions> create_of_format(const CreateOptions& options, const ImageSecrets& secrets,
                                               const json::Object& words) {
  if (options.format == "raw") return create_raw(options, secrets, words);
  return options.format == "luks" ? create_luks(options, secrets, words) : create_qcow2(options, secrets, words);
}

Result<> create_and_print(const CreateOptions& options, const ImageSecrets& secrets) {
  TRY_ASSIGN(json::Object words, create_words(options));
  // It stays open meanwhile, so that its locks keep the new image from its place.
  TRY_ASSIGN(const auto backing, open_backing(options, secrets, words));
  if (words.find("size") == nullptr) return fail("Image creation needs a size parameter");
  TRY_ASSIGN(const BlockdevCreateOptions made, create_of_format(options, secrets, words));
  if (options.wants_json()) {
    ImageOptions shown;
    shown.image = {.text = options.filename, .format = options.format};
    shown.is_json = true;
    return print_info(shown, secrets);
  }
  if (!options.is_quiet) print(stdout, "{}\n", formatting_text(options.filename, words, made));
  return {};
}

}  // namespace

Result<> create_image(const CreateOptions& options) {
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  return create_image(options, images->secrets());
}

Result<> create_image(const CreateOptions& options, const ImageSecrets& secrets) {
  Result<> done = create_and_print(options, secrets);
  if (!done) return fail(std::move(done).error().with_prefix(fmt::format("{}: ", options.filename)));
  return {};
}

}  // namespace blockexport::image
