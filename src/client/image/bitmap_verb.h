// `blockexport image bitmap`: changes of the persistent bitmaps of an image, as `qemu-img bitmap` makes them.
//
// Main thread.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "client/image/image_secrets.h"
#include "client/image/image_source.h"

namespace blockexport::image {

struct BitmapAction {
  enum class Kind { kAdd, kRemove, kClear, kEnable, kDisable, kMerge };
  Kind kind = Kind::kAdd;
  std::string source = {};  // kMerge: name of the bitmap
};

struct BitmapOptions {
  ImageSource image;
  ObjectTexts objects;
  std::string name;
  std::vector<BitmapAction> actions;  // in this order
  std::string granularity = {};       // of kAdd; empty: the default
  std::string source_filename = {};   // of kMerge; empty: the image itself
  std::string source_format = {};
};

// Makes the changes and stores them. After an error of an action, those before it hold.
Result<> change_bitmap(const BitmapOptions& options);

}  // namespace blockexport::image
