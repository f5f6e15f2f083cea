// FileSpan: where bytes of a node stand in a file of this host, for who can send them from there without a copy.
//
// A value; it keeps the file open, and nothing else: no gate is held, the node may change, be reopened or go away. What
// is sent later is what the file holds then. Thread: any.
#pragma once

#include <cstdint>
#include <memory>

#include "aio/open_file.h"

namespace blockexport::block {

struct FileSpan {
  std::shared_ptr<const aio::OpenFile> file;
  std::uint64_t offset = 0;  // in the file, of the first byte
};

}  // namespace blockexport::block
