// FileSpan: range of a host file that has bytes of a node, for sending them without a copy.
//
// A value; it keeps the file open, and holds no gate: the node may change, be reopened or removed. A later send reads
// the content that the file has then. Thread: any.
#pragma once

#include <cstdint>
#include <memory>

#include "aio/file/open_file.h"

namespace blockexport::block {

struct FileSpan {
  std::shared_ptr<const aio::OpenFile> file;
  std::uint64_t offset = 0;  // in the file, of the first byte
};

}  // namespace blockexport::block
