// Steps of a change that take, delete and apply snapshots inside images. Errors have the texts and the order of QMP.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "block/chain.h"
#include "block/graph_change.h"
#include "block/image_bitmaps.h"
#include "block/image_snapshots.h"

namespace blockexport::block {
namespace {

// The longest name in the reference, which cuts longer ones.
constexpr std::size_t kNameBytesMax = 255;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

struct Found {
  Node* node = nullptr;                 // that the user named
  Node* image = nullptr;                // that has the snapshots: the same, or one that it shows
  ImageSnapshots* snapshots = nullptr;  // null: neither it nor a node that it shows has any
};

Result<Found> find_device(Graph& graph, const std::string& device) {
  Node* const node = graph.find(device);
  if (node == nullptr) return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", device, device));
  for (const Edge& edge : node->parents()) {
    if (!edge.is_root()) return fail("Need a root block node");
  }
  Found found{.node = node};
  for (Node* shown = node; shown != nullptr && found.snapshots == nullptr; shown = filtered_node(*shown)) {
    found.snapshots = shown->driver().image_snapshots();
    found.image = shown;
  }
  return found;
}

Result<std::vector<ImageSnapshot>> list(const Found& found) {
  Result<> supported = found.snapshots != nullptr ? found.snapshots->check_support() : fail("Operation not supported");
  if (!supported) return fail(std::move(supported).error().with_prefix("Failed to get a snapshot list: "));
  return found.snapshots->list();
}

Error read_only_error(const std::string& device) {
  return Error(fmt::format("Device '{}' is read only", device));
}

}  // namespace

class Graph::ImageSnapshotTaking final : public Graph::Work {
 public:
  explicit ImageSnapshotTaking(TakeImageSnapshot step) : step_(std::move(step)) {}

  bool lets_requests_go() const override { return true; }

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(found_, find_device(change.graph(), step_.device));
    if (found_.node->read_only()) co_return fail(read_only_error(step_.device));
    if (found_.snapshots == nullptr) {
      co_return fail(fmt::format("Block format '{}' used by device '{}' does not support internal snapshots",
                                 found_.node->driver().format_name(), step_.device));
    }
    if (step_.name.empty() && !step_.is_offline) co_return fail("Name is empty");
    CO_TRY_ASSIGN(const std::vector<ImageSnapshot> snapshots, list(found_));
    if (!step_.is_offline && std::ranges::find(snapshots, step_.name, &ImageSnapshot::name) != snapshots.end()) {
      co_return fail(fmt::format("Snapshot with name '{}' already exists on device '{}'", step_.name, step_.device));
    }
    aio::Task<Result<>> beginning = begin(change);
    co_return co_await change.let_others_look(std::move(beginning));
  }

  aio::Task<Result<>> confirm(Change& change) override {
    change.let_requests_go();
    aio::Task<Result<>> finishing = found_.snapshots->finish(id_);
    Result<> finished = co_await change.let_others_look(std::move(finishing));
    if (!finished) co_return fail(explained(std::move(finished).error()));
    co_return Result<>();
  }

  aio::Task<void> abort(Change& change) override {
    aio::Task<Result<>> cancelling = found_.snapshots->cancel(id_);
    // An error leaves clusters that nothing uses, and nothing worse.
    (void)co_await change.let_others_look(std::move(cancelling));
  }

 private:
  Error explained(Error error) const {
    if (step_.is_offline) return error;
    return std::move(error).with_prefix(
        fmt::format("Failed to create snapshot '{}' on device '{}': ", step_.name, step_.device));
  }

  aio::Task<Result<>> begin(Change& change) {
    // The flush that requests wait for is short then.
    if (const IoResult flushed = co_await found_.image->flush(); !flushed) {
      co_return fail(explained(Error::system("Error flushing drive", flushed.error())));
    }
    Node* const nodes[] = {found_.image};
    co_await change.quiesce_above(nodes);
    if (const IoResult flushed = co_await found_.image->flush(); !flushed) {
      co_return fail(explained(Error::system("Error flushing drive", flushed.error())));
    }
    auto begun = co_await found_.snapshots->begin(described());
    if (!begun) co_return fail(explained(std::move(begun).error()));
    id_ = std::move(*begun);
    co_return Result<>();
  }

  ImageSnapshot described() const {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto now_ns = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
    ImageSnapshot snapshot{.name = step_.name.substr(0, kNameBytesMax),
                           .date_seconds = static_cast<std::uint32_t>(now_ns / kSecondNs),
                           // The reference knows microseconds.
                           .date_nanoseconds = static_cast<std::uint32_t>(now_ns % kSecondNs / 1000 * 1000)};
    if (step_.is_offline) {
      snapshot.instruction_count = 0;
    } else {
      snapshot.vm_clock_ns = now_ns;
    }
    return snapshot;
  }

  TakeImageSnapshot step_;
  Found found_;
  std::string id_;
};

class Graph::ImageSnapshotDeletion final : public Graph::Work {
 public:
  explicit ImageSnapshotDeletion(DeleteImageSnapshot step) : step_(std::move(step)) {}

  bool must_be_last() const override { return true; }

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(found_, find_device(change.graph(), step_.device));
    if (!step_.id && !step_.name) co_return fail("Name or id must be provided");
    CO_TRY_ASSIGN(std::vector<ImageSnapshot> snapshots, list(found_));
    const auto fits = [&](const ImageSnapshot& one) {
      return (!step_.id || one.id == *step_.id) && (!step_.name || one.name == *step_.name);
    };
    const auto one = std::ranges::find_if(snapshots, fits);
    if (one == snapshots.end()) {
      co_return fail(fmt::format("Snapshot with id '{}' and name '{}' does not exist on device '{}'",
                                 step_.id.value_or("null"), step_.name.value_or("null"), step_.device));
    }
    if (found_.node->read_only()) co_return fail(read_only_error(step_.device));
    deleted_ = std::move(*one);
    co_return Result<>();
  }

  aio::Task<Result<>> perform(Change& change) override {
    aio::Task<Result<>> removing = found_.snapshots->remove(deleted_.id);
    CO_TRY(co_await change.let_others_look(std::move(removing)));
    if (step_.deleted != nullptr) *step_.deleted = std::move(deleted_);
    co_return Result<>();
  }

 private:
  DeleteImageSnapshot step_;
  Found found_;
  ImageSnapshot deleted_;
};

class Graph::ImageSnapshotApplying final : public Graph::Work {
 public:
  explicit ImageSnapshotApplying(ApplyImageSnapshot step) : step_(std::move(step)) {}

  bool must_be_last() const override { return true; }

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(found_, find_device(change.graph(), step_.device));
    // Their bits say nothing of the difference from the snapshot.
    if (found_.image != nullptr && !found_.image->bitmaps().list().all().empty()) {
      co_return fail("Device has active dirty bitmaps");
    }
    CO_TRY_ASSIGN(const std::vector<ImageSnapshot> snapshots, list(found_));
    if (std::ranges::find(snapshots, step_.id, &ImageSnapshot::id) == snapshots.end()) {
      co_return fail("No such file or directory");
    }
    if (found_.node->read_only()) co_return fail(read_only_error(step_.device));
    co_return Result<>();
  }

  aio::Task<Result<>> perform(Change& change) override {
    Node* const nodes[] = {found_.image};
    co_await change.quiesce_above(nodes);
    aio::Task<Result<>> applying = found_.snapshots->apply(step_.id);
    CO_TRY(co_await change.let_others_look(std::move(applying)));
    if (const IoResult resized = change.resize_bitmaps(*found_.image); !resized) {
      co_return fail(Error::system("Cannot resize the bitmaps", resized.error()));
    }
    co_return Result<>();
  }

 private:
  ApplyImageSnapshot step_;
  Found found_;
};

std::unique_ptr<Graph::Work> Graph::work_of(TakeImageSnapshot step) {
  return std::make_unique<ImageSnapshotTaking>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(DeleteImageSnapshot step) {
  return std::make_unique<ImageSnapshotDeletion>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(ApplyImageSnapshot step) {
  return std::make_unique<ImageSnapshotApplying>(std::move(step));
}

}  // namespace blockexport::block
