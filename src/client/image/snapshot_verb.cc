#include "client/image/snapshot_verb.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/print.h"
#include "client/image/image_graph.h"
#include "client/image/info_text.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

using Snapshots = std::vector<schema::SnapshotInfo>;

Snapshots snapshots_of(block::Node& node) {
  schema::ImageInfo info;
  node.driver().describe_image(info);
  return info.snapshots ? std::move(*info.snapshots) : Snapshots();
}

void print_list(const ImageOptions& options, const Snapshots& snapshots) {
  if (options.wants_json()) {
    json::Array list;
    for (const schema::SnapshotInfo& one : snapshots) list.push_back(schema::encode(one));
    std::string text;
    json::write_pretty(json::Value(std::move(list)), text);
    print(stdout, "{}\n", text);
  } else if (!snapshots.empty()) {
    print(stdout, "{}", snapshots_text(snapshots));
  }
}

Result<> run(ImageGraph& images, block::GraphStep step) {
  std::vector<block::GraphStep> steps;
  steps.push_back(std::move(step));
  return images.run(images.graph().apply(std::move(steps)));
}

const schema::SnapshotInfo* find_name(const Snapshots& snapshots, const std::string& name) {
  const auto found = std::ranges::find(snapshots, name, &schema::SnapshotInfo::name);
  return found == snapshots.end() ? nullptr : &*found;
}

Result<> create(ImageGraph& images, const std::string& name) {
  Result<> done = run(images, block::TakeImageSnapshot{
                                  .device = std::string(ImageGraph::kImageNode), .name = name, .is_offline = true});
  if (done) return {};
  // An image without snapshots.
  if (done.error().message().starts_with("Block format")) done = fail("Operation not supported");
  return fail(std::move(done).error().with_prefix(fmt::format("Could not create snapshot '{}': ", name)));
}

Result<> remove(ImageGraph& images, const Snapshots& snapshots, const std::string& name) {
  const std::string prefix = fmt::format("Could not delete snapshot '{}': ", name);
  const schema::SnapshotInfo* const found = find_name(snapshots, name);
  if (found == nullptr) return fail(prefix + "snapshot not found");
  Result<> done = run(
      images, block::DeleteImageSnapshot{.device = std::string(ImageGraph::kImageNode), .id = found->id, .name = name});
  if (done) return {};
  return fail(std::move(done).error().with_prefix(prefix));
}

Result<> apply(ImageGraph& images, const std::string& format, const Snapshots& snapshots, const std::string& key) {
  const std::string prefix = fmt::format("Could not apply snapshot '{}': ", key);
  if (format != "qcow2") return fail(prefix + "Block driver does not support snapshots");
  const auto by_id = std::ranges::find(snapshots, key, &schema::SnapshotInfo::id);
  const schema::SnapshotInfo* const found = by_id != snapshots.end() ? &*by_id : find_name(snapshots, key);
  if (found == nullptr) return fail(prefix + "Failed to load snapshot: No such file or directory");
  Result<> done =
      run(images, block::ApplyImageSnapshot{.device = std::string(ImageGraph::kImageNode), .id = found->id});
  if (done) return {};
  return fail(std::move(done).error().with_prefix(prefix));
}

}  // namespace

Result<> change_snapshots(const ImageOptions& options, const SnapshotActions& actions) {
  const bool changes = actions.created || actions.deleted || actions.applied;
  Access access = options.force_share ? Access::kReadShared : Access::kRead;
  if (changes && options.force_share) {
    return fail("A change of the image cannot share it with another writer");
  }
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  if (changes) access = Access::kWrite;
  if (!changes) images->secrets().open_locked_images();
  TRY_ASSIGN(block::Node* const node, images->open_image(options.image, access, Backing::kNone));
  const std::string format(node->driver().format_name());
  const Snapshots snapshots = snapshots_of(*node);
  if (actions.created) {
    TRY(create(*images, *actions.created));
  } else if (actions.deleted) {
    TRY(remove(*images, snapshots, *actions.deleted));
  } else if (actions.applied) {
    TRY(apply(*images, format, snapshots, *actions.applied));
  }
  if (!changes) {
    print_list(options, snapshots);
  } else if (options.wants_json()) {
    print_list(options, snapshots_of(*node));
  }
  return {};
}

}  // namespace blockexport::image
