// Qcow2Driver: new options and another backing node while requests wait.
#include <fmt/format.h>

#include <utility>

#include "block/graph.h"
#include "block/reopen_children.h"
#include "drivers/options.h"
#include "drivers/qcow2/qcow2_driver.h"
#include "drivers/qcow2/qcow2_open.h"

namespace blockexport::drivers::qcow2 {

Result<> Qcow2Driver::prepare_backing(const schema::BlockdevOptionsQcow2& after, block::ReopenChildren& children) {
  if (!after.backing) {
    if (backing_ == nullptr && !image_.backing_name) return {};
    return fail(fmt::format("backing is missing for '{}'", children.node_name()));
  }
  const std::optional<schema::BlockdevRef> reference = block::as_reference(*after.backing);
  if (!reference) {
    if (backing_ == nullptr) return {};
    children.drop_child(*backing_);
    dropped_backing_ = std::move(backing_);
    return {};
  }
  // The graph has moved an edge that there was before.
  if (backing_ != nullptr) return {};
  TRY_ASSIGN(backing_, children.add_child(*reference, "backing", block::ChildRole::kBacking));
  has_added_backing_ = true;
  return {};
}

aio::Task<Result<>> Qcow2Driver::prepare_reopen(const schema::BlockdevOptions& before,
                                                const schema::BlockdevOptions& after, block::NodeOptions& node_options,
                                                block::ReopenChildren& children) {
  const auto& old_options = before.as<schema::BlockdevDriver::kQcow2>();
  const auto& new_options = after.as<schema::BlockdevDriver::kQcow2>();
  next_read_only_ = is_to_be_read_only(node_options, file());
  if (next_read_only_ && node_options.auto_read_only) node_options.read_only = true;
  CO_TRY_ASSIGN(next_options_, qcow2_options(new_options, node_options));
  CO_TRY(check_options(next_options_, image_.header));
  CO_TRY(check_encryption(image_.header, next_options_.encryption_format));
  if (old_options.encrypt && !new_options.encrypt) co_return fail(changed_option("encrypt.format", true));
  CO_TRY_ASSIGN(next_sizes_, cache_sizes(next_options_, image_.header));
  if (old_options.data_file.has_value() != new_options.data_file.has_value()) {
    co_return fail(changed_option("data-file", !new_options.data_file));
  }
  CO_TRY(prepare_backing(new_options, children));
  // The graph has flushed the node, so the image has everything that the writer knows.
  if (!next_read_only_ && (writer_ == nullptr || next_sizes_ != sizes_)) {
    Result<Opened> opened = co_await open_again();
    if (!opened) {
      co_await abort_reopen();
      co_return fail(std::move(opened).error());
    }
    next_opened_ = std::move(*opened);
  }
  co_return Result<>();
}

aio::Task<Result<Qcow2Driver::Opened>> Qcow2Driver::open_again() {
  if (writer_ != nullptr) {
    if (const IoResult flushed = co_await writer_->flush(); !flushed) {
      co_return fail(Error::system("Error flushing drive", flushed.error()));
    }
  }
  CO_TRY_ASSIGN(ImageBegin begin, co_await read_image_begin(file(), HeaderUse::kReadWrite));
  Opened opened;
  CO_TRY_ASSIGN(opened.image, co_await read_image(file(), std::move(begin)));
  opened.tables = make_tables(opened.image.header.geometry(), opened.image.l1, next_sizes_, *file_);
  CO_TRY_ASSIGN(opened.writer, co_await make_writer(opened.image, *opened.tables, next_sizes_, next_options_));
  opened.image.l1 = {};
  co_return opened;
}

void Qcow2Driver::take(Opened opened) {
  const bool was_read_only = writer_ == nullptr;
  writer_ = std::move(opened.writer);
  tables_ = std::move(opened.tables);
  image_ = std::move(opened.image);
  bitmaps_.forget_use();
  if (was_read_only) bitmaps_.forget_session();
  is_verified_ = false;
  sizes_ = next_sizes_;
  may_change_.store(false, std::memory_order_release);
}

aio::Task<Result<>> Qcow2Driver::reload() {
  next_sizes_ = sizes_;
  next_options_ = options_;
  CO_TRY_ASSIGN(Opened opened, co_await open_again());
  take(std::move(opened));
  size_bytes_.store(image_.header.disk_bytes(), std::memory_order_release);
  co_return Result<>();
}

aio::Task<void> Qcow2Driver::commit_reopen() {
  if (next_opened_) {
    take(std::move(*next_opened_));
    next_opened_.reset();
  }
  if (next_read_only_) writer_.reset();
  if (writer_ != nullptr) writer_->set_policy(policy_of(image_, next_options_));
  if (next_sizes_ != sizes_) {
    std::vector<std::uint64_t> l1(tables_->l1_size());
    for (std::size_t i = 0; i < l1.size(); i++) l1[i] = tables_->l1_entry(i);
    tables_ = make_tables(tables_->geometry(), l1, next_sizes_, *file_);
    sizes_ = next_sizes_;
  }
  options_ = std::move(next_options_);
  has_added_backing_ = false;
  dropped_backing_.reset();
  co_return;
}

aio::Task<void> Qcow2Driver::abort_reopen() {
  next_opened_.reset();
  if (std::exchange(has_added_backing_, false)) backing_.reset();
  if (dropped_backing_ != nullptr) backing_ = std::move(dropped_backing_);
  co_return;
}

}  // namespace blockexport::drivers::qcow2
