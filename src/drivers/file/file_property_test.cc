// Random verbs of several tasks on one host file at once, buffered and direct, by seed.
#include <deque>

#include "block/testing/node_model.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

class FilePropertyTest : public block::ReactorTest {
 protected:
  // A file of 100 000 bytes, which is no multiple of any block size.
  void run_seed(std::uint64_t seed, bool direct) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << (direct ? " direct" : " buffered"));
    std::string path = directory_.sparse_file("disk" + std::to_string(seed), 100'000);
    auto driver = run(FileDriver::open({.filename = path, .direct = direct}));
    ASSERT_TRUE(driver.has_value()) << driver.error().message();
    block::Node node("disk", std::move(*driver), {.discard = block::DiscardMode::kUnmap});
    std::deque<block::NodeModel> models;
    std::mt19937_64 random(seed);
    std::uint64_t size = node.size_bytes();
    for (std::uint64_t offset = 0; offset < size;) {
      std::uint64_t length = std::min<std::uint64_t>(size - offset, 5'000 + random() % 40'000);
      models.emplace_back(node, block::Range{offset, length}, random());
      start(models.back().run(40));
      offset += length;
    }
    until_idle();
  }

  block::TempDir directory_;
};

TEST_F(FilePropertyTest, BufferedFilesReadTheWrittenData) {
  for (std::uint64_t seed = 1; seed <= 5 && !HasFailure(); seed++) run_seed(seed, false);
}

TEST_F(FilePropertyTest, DirectFilesReadTheWrittenData) {
  for (std::uint64_t seed = 1; seed <= 5 && !HasFailure(); seed++) run_seed(seed, true);
}

}  // namespace
}  // namespace blockexport::drivers
