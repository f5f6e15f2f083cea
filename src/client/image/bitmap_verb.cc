#include "client/image/bitmap_verb.h"

#include <fmt/format.h>

#include <bit>

#include "block/loaded_bitmaps.h"
#include "client/image/image_graph.h"
#include "schema/keyval_decoder.h"

namespace blockexport::image {
namespace {

using Kind = BitmapAction::Kind;

constexpr std::uint64_t kGranularityBytesMin = 512;
constexpr std::uint64_t kGranularityBytesMax = std::uint64_t{1} << 31;
constexpr std::string_view kSourceNode = "source";

Result<std::optional<std::uint32_t>> granularity_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto bytes = schema::parse_size(text);
  if (!bytes || *bytes < kGranularityBytesMin || *bytes > kGranularityBytesMax || !std::has_single_bit(*bytes)) {
    return fail(fmt::format("Invalid granularity '{}': it is a power of two from 512 to 2G", text));
  }
  return static_cast<std::uint32_t>(*bytes);
}

block::GraphStep step_of(const BitmapAction& action, const BitmapOptions& options,
                         std::optional<std::uint32_t> granularity_bytes) {
  const block::BitmapName bitmap{std::string(ImageGraph::kImageNode), options.name};
  switch (action.kind) {
    case Kind::kAdd:
      return block::AddBitmap{.bitmap = bitmap, .granularity_bytes = granularity_bytes, .persistent = true};
    case Kind::kRemove:
      return block::RemoveBitmap{bitmap};
    case Kind::kClear:
      return block::ClearBitmap{bitmap};
    case Kind::kEnable:
      return block::EnableBitmap{bitmap};
    case Kind::kDisable:
      return block::DisableBitmap{bitmap};
    case Kind::kMerge:
      break;
  }
  const std::string_view node = options.source_filename.empty() ? ImageGraph::kImageNode : kSourceNode;
  return block::MergeBitmaps{.target = bitmap, .sources = {{std::string(node), action.source}}};
}

Result<> check(const BitmapOptions& options) {
  if (options.actions.empty()) {
    return fail("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
  }
  const auto has = [&](Kind kind) {
    return std::ranges::any_of(options.actions, [&](const BitmapAction& action) { return action.kind == kind; });
  };
  if (!options.granularity.empty() && !has(Kind::kAdd)) return fail("granularity only supported with --add");
  if (!options.source_filename.empty() && !has(Kind::kMerge)) {
    return fail("Merge bitmap source file only supported with --merge");
  }
  return {};
}

}  // namespace

Result<> change_bitmap(const BitmapOptions& options) {
  TRY(check(options));
  TRY_ASSIGN(const auto granularity_bytes, granularity_of(options.granularity));
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  TRY_ASSIGN(block::Node* const image, images->open_image(options.image, Access::kWrite, Backing::kNone));
  if (!options.source_filename.empty()) {
    const ImageSource source{.text = options.source_filename, .format = options.source_format};
    TRY(images->open_image(source, Access::kRead, Backing::kNone, kSourceNode));
  }
  Result<> done;
  for (const BitmapAction& action : options.actions) {
    std::vector<block::GraphStep> steps;
    steps.push_back(step_of(action, options, granularity_bytes));
    done = images->run(images->graph().apply(std::move(steps)));
    if (!done) break;
  }
  Result<> stored = images->run(block::store_image_bitmaps(*image, nullptr));
  if (!done)
    return fail(std::move(done).error().with_prefix(fmt::format("Operation on bitmap {} failed: ", options.name)));
  return stored;
}

}  // namespace blockexport::image
