#include "client/image/convert_verb.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "base/print.h"
#include "block/loaded_bitmaps.h"
#include "client/image/create_verb.h"
#include "client/image/image_copy.h"
#include "client/image/image_graph.h"
#include "client/image/info_verb.h"
#include "client/image/new_file.h"
#include "schema/keyval_decoder.h"

namespace blockexport::image {
namespace {

constexpr std::uint64_t kHoleBytesDefault = 4096;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::string_view kTargetNode = "target";

Result<std::uint64_t> hole_bytes_of(const std::string& text) {
  if (text.empty()) return kHoleBytesDefault;
  const auto bytes = schema::parse_size(text);
  if (!bytes || *bytes % kSectorBytes != 0 || *bytes > INT32_MAX) {
    return fail(fmt::format("Invalid buffer size for sparse output specified: '{}' is no multiple of 512 bytes", text));
  }
  return *bytes;
}

// The content of the parts of the target that are not written.
TargetContent content_of(const ConvertOptions& options, const json::Object& words, bool is_device) {
  if (words.find("backing-file") != nullptr) return TargetContent::kBacking;
  if (options.is_existing) return options.target_is_zero ? TargetContent::kZero : TargetContent::kUnknown;
  // The creation leaves the content of a device, and of a raw data file; a new LUKS image shows what zeroes decrypt to.
  if (options.target.format == "luks") return TargetContent::kUnknown;
  return is_device || words.find("data-file-raw") != nullptr ? TargetContent::kUnknown : TargetContent::kZero;
}

bool is_one_file(const std::string& one, const std::string& other) {
  struct stat first{};
  struct stat second{};
  if (stat(one.c_str(), &first) != 0 || stat(other.c_str(), &second) != 0) return false;
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

// Returns true if the node or one below it has that file.
bool has_file(block::Node& node, const std::string& filename) {
  if (is_one_file(node.driver().filename(), filename)) return true;
  return std::ranges::any_of(node.driver().children(),
                             [&](const block::Edge* child) { return has_file(child->node(), filename); });
}

// Fails if the source stands on a file that the target would overwrite: with --force-share no lock prevents that.
Result<> check_chain(block::Node& source, const std::string& filename) {
  if (!has_file(source, filename)) return {};
  return fail(fmt::format("'{}' is a file of the source or of its backing files", filename));
}

// The same for the files that hold the image of an open target. The recursion ends at kGraphDepthMax.
Result<> check_files_of_target(const SourceDisk& source, block::Node& target) {
  if (const std::string filename = target.driver().filename(); !filename.empty()) {
    for (block::Node* const node : source.nodes()) TRY(check_chain(*node, filename));
  }
  for (const block::Edge* child : target.driver().children()) {
    if (child->roles().holds_image()) TRY(check_files_of_target(source, child->node()));
  }
  return {};
}

// Adds the bitmaps of the source to the target, and stores them.
aio::Task<Result<>> copy_bitmaps(block::Graph& graph, block::Node& source, block::Node& target) {
  std::vector<block::GraphStep> steps;
  for (const auto& bitmap : source.bitmaps().list().all()) {
    if (bitmap->is_inconsistent()) {
      co_return fail(fmt::format("Cannot copy inconsistent bitmap '{}'", bitmap->name()));
    }
    const block::BitmapName name{target.name(), bitmap->name()};
    steps.emplace_back(block::AddBitmap{.bitmap = name,
                                        .granularity_bytes = bitmap->bits().granularity_bytes(),
                                        .persistent = true,
                                        .enabled = bitmap->is_enabled()});
    steps.emplace_back(block::MergeBitmaps{.target = name, .sources = {{source.name(), bitmap->name()}}});
  }
  if (steps.empty()) co_return Result<>();
  CO_TRY(co_await graph.apply(std::move(steps)));
  co_return co_await block::store_image_bitmaps(target, nullptr);
}

aio::Task<Result<>> flush(block::Node& target) {
  const IoResult flushed = co_await target.flush();
  if (!flushed) co_return fail(Error::system("error while flushing the target", flushed.error()));
  co_return Result<>();
}

Result<SourceDisk> open_sources(ImageGraph& images, const ConvertOptions& options) {
  const Access access = options.force_share ? Access::kReadShared : Access::kRead;
  std::vector<block::Node*> nodes;
  for (const ImageSource& source : options.sources) {
    const std::string name = nodes.empty() ? std::string(ImageGraph::kImageNode) : fmt::format("image{}", nodes.size());
    TRY_ASSIGN(block::Node* const node, images.open_image(source, access, Backing::kNamed, name));
    nodes.push_back(node);
  }
  return SourceDisk(std::move(nodes));
}

// The target, open for writing.
Result<block::Node*> open_target(ImageGraph& images, const ConvertOptions& options, const json::Object& words,
                                 std::uint64_t size_bytes) {
  const CreateOptions& target = options.target;
  if (!options.is_existing && (target.format != "raw" || !is_block_device(target.filename))) {
    CreateOptions creation = target;
    creation.size = std::to_string(size_bytes);
    creation.is_quiet = true;
    creation.is_json = false;
    creation.output = "human";
    TRY(create_image(creation, images.secrets()));
  }
  json::Object opening = opening_options_of(words, target.filename, target.format);
  if (options.target_is_options) {
    TRY_ASSIGN(opening, source_options({.text = target.filename, .is_options = true}));
  }
  TRY_ASSIGN(block::Node* const node,
             images.open_options(std::move(opening), target.filename, Access::kWrite, Backing::kNamed, kTargetNode));
  if (node->size_bytes() < size_bytes) return fail("Output file is smaller than input file");
  return node;
}

Result<> check_sources(const ConvertOptions& options, const json::Object& words) {
  if (options.sources.size() > kSourcesMax) return fail(fmt::format("More than {} sources", kSourcesMax));
  if (options.sources.size() == 1) return {};
  if (words.find("backing-file") != nullptr) {
    return fail("Having a backing file for the target makes no sense when concatenating multiple input images");
  }
  if (options.with_bitmaps) return fail("Copying bitmaps only possible with single source");
  return {};
}

Result<> check(const ConvertOptions& options, const json::Object& words) {
  TRY(check_sources(options, words));
  if (options.target_is_options && !options.is_existing) return fail("--target-image-opts requires use of -n flag");
  const bool is_encrypted = words.find("encrypt.format") != nullptr;
  if (options.is_compressed && is_encrypted) {
    return fail("Compression and encryption not supported at the same time");
  }
  if (options.is_compressed && options.target.format != "qcow2") {
    return fail("Compression not supported for this file format");
  }
  const json::Value* const preallocation = words.find("preallocation");
  if (options.is_compressed && preallocation != nullptr && *preallocation->as_string() != "off") {
    return fail("Compression and preallocation not supported at the same time");
  }
  if (options.target_is_zero && !options.is_existing) return fail("--target-is-zero requires use of -n flag");
  if (options.with_bitmaps && options.target.format != "qcow2") {
    return fail(fmt::format("Format driver '{}' does not support bitmaps", options.target.format));
  }
  return {};
}

}  // namespace

Result<> convert(const ConvertOptions& options) {
  TRY_ASSIGN(const json::Object words, create_words(options.target));
  TRY(check(options, words));
  TRY_ASSIGN(const std::uint64_t hole_bytes, hole_bytes_of(options.sparse_size));
  TRY_ASSIGN(const auto images, ImageGraph::create(options.target.objects));
  TRY_ASSIGN(const SourceDisk source, open_sources(*images, options));
  const json::Value* const data_file = words.find("data-file");
  for (block::Node* const node : source.nodes()) {
    TRY(check_chain(*node, options.target.filename));
    if (data_file != nullptr) TRY(check_chain(*node, *data_file->as_string()));
  }
  NewFile created(options.target.filename);
  std::optional<NewFile> created_data;
  if (data_file != nullptr) created_data.emplace(*data_file->as_string());
  TRY_ASSIGN(block::Node* const target, open_target(*images, options, words, source.size_bytes()));
  TRY(check_files_of_target(source, *target));
  const bool is_device = is_block_device(options.target.filename) && options.target.format == "raw";
  const ImageCopyOptions copy_options{.target_content = content_of(options, words, is_device),
                                      .is_compressed = options.is_compressed,
                                      .hole_bytes = hole_bytes};
  {
    Percentage percentage(options.shows_progress);
    ImageCopy copy(source, *target, copy_options, percentage);
    TRY(images->run(copy.run(images->reactor(), options.tasks)));
  }
  if (options.with_bitmaps) TRY(images->run(copy_bitmaps(images->graph(), *source.nodes().front(), *target)));
  TRY(images->run(flush(*target)));
  created.keep();
  if (created_data) created_data->keep();
  if (!options.target.wants_json()) return {};
  ImageOptions shown;
  shown.image = {.text = options.target.filename,
                 .format = options.target_is_options ? "" : options.target.format,
                 .is_options = options.target_is_options};
  shown.is_json = true;
  shown.force_share = true;
  return print_info(shown, images->secrets());
}

}  // namespace blockexport::image
