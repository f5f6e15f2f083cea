#include "client/image/info_verb.h"

#include <fmt/format.h>

#include <set>

#include "base/print.h"
#include "block/graph_info.h"
#include "block/image_reference.h"
#include "client/image/image_graph.h"
#include "client/image/info_text.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

// The answer of queries about the node "image".
Result<schema::ImageInfo> info_of(ImageGraph& images, const ImageSource& source) {
  auto nodes = images.run(block::named_block_nodes(images.graph(), block::BackingImages::kLeftOut));
  for (schema::BlockDeviceInfo& node : nodes) {
    if (node.node_name != ImageGraph::kImageNode) continue;
    if (!source.is_options) node.image.filename = source.text;
    // Of nodes, not of images.
    node.image.limits.reset();
    return std::move(node.image);
  }
  return fail("The image is not open");
}

Result<schema::ImageInfo> read_info(const ImageSource& source, const ImageSecrets& secrets, Access access) {
  TRY_ASSIGN(const auto images, ImageGraph::create(secrets));
  images->secrets().open_locked_images();
  TRY(images->open_image(source, access, Backing::kNone));
  return info_of(*images, source);
}

// The image and those below it, as their headers name them.
Result<std::vector<schema::ImageInfo>> read_chain(const ImageOptions& options, const ImageSecrets& secrets,
                                                  Access access) {
  std::vector<schema::ImageInfo> chain;
  std::set<std::string> names;
  ImageSource source = options.image;
  while (true) {
    if (!names.insert(source.text).second)
      return fail(fmt::format("Backing file '{}' creates an infinite loop.", source.text));
    if (chain.size() >= block::kBackingChainDepthMax) return fail("The chain of backing files is too long");
    TRY_ASSIGN(schema::ImageInfo info, read_info(source, secrets, access));
    chain.push_back(std::move(info));
    const schema::ImageInfo& last = chain.back();
    if (!options.shows_backing_chain || !last.full_backing_filename) return chain;
    source = {.text = *last.full_backing_filename, .format = last.backing_filename_format.value_or("")};
  }
}

}  // namespace

Result<> print_info(const ImageOptions& options) {
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  return print_info(options, images->secrets());
}

Result<> print_info(const ImageOptions& options, const ImageSecrets& secrets) {
  const Access access = options.force_share ? Access::kReadShared : Access::kRead;
  TRY_ASSIGN(const std::vector<schema::ImageInfo> chain, read_chain(options, secrets, access));
  std::string text;
  if (options.wants_json()) {
    json::Array list;
    for (const schema::ImageInfo& info : chain) list.push_back(schema::encode(info));
    json::write_pretty(options.shows_backing_chain ? json::Value(std::move(list)) : std::move(list.front()), text);
    text += '\n';
  } else {
    for (const schema::ImageInfo& info : chain) text += (text.empty() ? "" : "\n") + info_text(info);
  }
  print(stdout, "{}", text);
  return {};
}

}  // namespace blockexport::image
