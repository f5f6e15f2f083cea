// CompressDriver: a filter that asks its child to compress what is written.
//
// Owned by its Node. It has no state: verbs run on any reactor, and return the child's own tasks. Reads cost what they
// cost below.
#pragma once

#include <memory>

#include "drivers/filter/filter_driver.h"

namespace blockexport::drivers {

class CompressDriver final : public FilterDriver {
 public:
  // Fails when the format of the child has no compressed form.
  static Result<std::unique_ptr<CompressDriver>> open(std::unique_ptr<block::Edge> file);

  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  // Compression is no work for an inline verb.
  IoResult try_write(aio::Reactor&, block::Range, block::IoBuffers, block::InlineHints&) override {
    return fail(EAGAIN);
  }

  block::Limits limits() const override;
  // As in the reference, no compress filter stands on another one.
  bool can_compress() const override { return false; }
  std::string_view format_name() const override { return "compress"; }

 private:
  using FilterDriver::FilterDriver;
};

}  // namespace blockexport::drivers
