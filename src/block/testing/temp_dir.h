// TempDir: a private directory for one test, removed with the object.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace blockexport::block {

class TempDir {
 public:
  TempDir() : path_(testing::TempDir() + "blockexport-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }

  // A file of `bytes` bytes, all holes; its path.
  std::string sparse_file(const std::string& name, std::uint64_t bytes) const {
    std::ofstream(path(name)).close();
    std::filesystem::resize_file(path(name), bytes);
    return path(name);
  }
  // A file of `content`; its path.
  std::string file(const std::string& name, std::string_view content) const {
    std::ofstream(path(name)) << content;
    return path(name);
  }

 private:
  std::string path_;
};

}  // namespace blockexport::block
