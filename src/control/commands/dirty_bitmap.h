// The graph steps that stand for the arguments of the commands of dirty bitmaps, which are also actions of a
// transaction. Thread: any.
#pragma once

#include "block/graph_step.h"
#include "schema/block_dirty_bitmap.h"

namespace blockexport::control {

block::BitmapName bitmap_name(schema::BlockDirtyBitmap bitmap);
block::AddBitmap add_step(schema::BlockDirtyBitmapAdd arguments);
block::MergeBitmaps merge_step(schema::BlockDirtyBitmapMerge arguments);

}  // namespace blockexport::control
