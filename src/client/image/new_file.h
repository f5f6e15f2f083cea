// NewFile: a file that is to be made: removed again, unless it is kept or was there before. Main thread.
#pragma once

#include <unistd.h>

#include <string>

namespace blockexport::image {

class NewFile {
 public:
  explicit NewFile(std::string filename)
      : filename_(std::move(filename)), is_new_(access(filename_.c_str(), F_OK) != 0) {}
  ~NewFile() {
    if (is_new_) unlink(filename_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void keep() { is_new_ = false; }

 private:
  std::string filename_;
  bool is_new_;
};

}  // namespace blockexport::image
