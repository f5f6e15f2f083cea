// FileDriver: reopening with new options.
#include <fmt/format.h>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "drivers/file/file_driver.h"
#include "drivers/options.h"

namespace blockexport::drivers {
namespace {

const schema::BlockdevOptionsFile& options_in(const schema::BlockdevOptions& options) {
  const auto* file = options.as_if<schema::BlockdevDriver::kFile>();
  return file != nullptr ? *file : options.as<schema::BlockdevDriver::kHostDevice>();
}

Result<> check_fixed_options(const schema::BlockdevOptionsFile& before, const schema::BlockdevOptionsFile& after) {
  if (before.filename != after.filename) return fail(changed_option("filename", false));
  TRY(check_unchanged("locking", before.locking, after.locking));
  TRY(check_unchanged("aio", before.aio, after.aio));
  TRY(check_unchanged("aio-max-batch", before.aio_max_batch, after.aio_max_batch));
  return {};
}

}  // namespace

aio::Task<Result<>> FileDriver::prepare_reopen(const schema::BlockdevOptions& before,
                                               const schema::BlockdevOptions& after, block::NodeOptions& node_options,
                                               block::ReopenChildren&) {
  CO_TRY(check_fixed_options(options_in(before), options_in(after)));
  FileOptions wanted = file_options(options_in(after), node_options, options_.type);
  wanted.beneath = options_.beneath;
  auto reopening = std::make_unique<FileReopening>(FileReopening{.options = wanted, .limits = limits_, .fd = fd_});
  if (wanted.read_only != options_.read_only || wanted.direct != options_.direct) {
    CO_TRY_ASSIGN(reopening->fd, co_await open_again(reopening->options));
    reopening->limits = co_await limits_of(home_, reopening->fd, reopening->options, limits_.optimal_bytes);
  }
  node_options.read_only = reopening->options.read_only;
  reopening_ = std::move(reopening);
  co_return Result<>();
}

aio::Task<Result<int>> FileDriver::open_again(FileOptions& options) {
  auto fd = co_await open_fd(home_, path_, options);
  if (!fd) co_return fail(Error::system(fmt::format("Could not open '{}'", options.filename), fd.error()));
  aio::FileInfo now;
  aio::FileInfo then;
  auto known = co_await home_.stat(fd_, then);
  auto opened = co_await home_.stat(*fd, now);
  if (known && opened && now.device == then.device && now.inode == then.inode) co_return *fd;
  home_.close_now(*fd);
  co_return fail(fmt::format("'{}' is no longer the file that was opened", options.filename));
}

aio::Task<void> FileDriver::commit_reopen() {
  std::unique_ptr<FileReopening> reopening = std::move(reopening_);
  if (reopening->fd != fd_) {
    // Replies that are still being sent from the old description keep it open.
    file_ = std::make_shared<aio::OpenFile>(home_, reopening->fd);
    if (locks_ != nullptr) co_await locks_->move_to(home_, file_);
    fd_ = reopening->fd;
    extents_.clear();
  }
  options_ = std::move(reopening->options);
  limits_ = reopening->limits;
}

aio::Task<void> FileDriver::abort_reopen() {
  if (reopening_->fd != fd_) home_.close_now(reopening_->fd);
  reopening_ = nullptr;
  co_return;
}

}  // namespace blockexport::drivers
