// `blockexport image compare`: whether two images show the same disk; output and exit codes of `qemu-img compare`.
//
// Main thread.
#pragma once

#include <string>

#include "base/error.h"
#include "client/image/image_secrets.h"
#include "client/image/image_source.h"
#include "client/image/image_work.h"

namespace blockexport::image {

struct CompareOptions {
  ImageSource first;
  ImageSource second;
  ObjectTexts objects;
  unsigned tasks = kImageTasksDefault;
  bool is_strict = false;  // sizes and allocation have to be equal, too
  bool shows_progress = false;
  bool is_json = false;
  bool is_quiet = false;
  bool force_share = false;
};

// Exit codes, besides 0 for images that are equal.
inline constexpr int kExitDifferent = 1;
inline constexpr int kExitCompareFailed = 2;

// Compares them, and prints the result. The exit code 0 or kExitDifferent; an error if they cannot be compared.
Result<int> compare(const CompareOptions& options);

}  // namespace blockexport::image
