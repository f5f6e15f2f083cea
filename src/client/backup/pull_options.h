// PullOptions: the choices of a user of `blockexport pull`. A plain value; thread: any.
//
// The text of --help describes each of them.
#pragma once

#include <string>

namespace blockexport::backup {

struct PullOptions {
  std::string uri;
  std::string target;     // a raw image; empty: into a directory
  std::string directory;  // of points
  std::string bitmap;     // for an incremental point; empty: the only one that the export offers, if any
  bool is_full = false;
  bool is_incremental = false;        // an export without a dirty bitmap is an error
  bool accepts_other_export = false;  // the directory may be that of an export with another name
  bool is_resumed = false;
  bool verifies = false;
  bool overwrites = false;
  unsigned connections = 0;  // 0: chosen
  unsigned requests = 0;     // for each connection; 0: chosen
  unsigned timeout_seconds = 300;
  std::string progress;  // see Progress::create()
  bool is_json = false;
};

}  // namespace blockexport::backup
