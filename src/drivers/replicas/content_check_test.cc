#include "drivers/replicas/content_check.h"

#include <gtest/gtest.h>

#include "base/log.h"

namespace blockexport::drivers {
namespace {

TEST(ContentCheckTest, FailsEveryRequestAfterTheFirstDifference) {
  ContentCheck check(nullptr, "blkverify");
  EXPECT_TRUE(check.state());
  EXPECT_EQ(check.contents_differ("n", {0, 512}, 7), IoResult(fail(EIO)));
  EXPECT_EQ(check.state(), IoResult(fail(EIO)));
}

TEST(ContentCheckTest, LogsTheFirstDifferenceAlone) {
  Log log("test", STDERR_FILENO, LogLevel::kError);
  testing::internal::CaptureStderr();
  ContentCheck check(&log, "blkverify");
  EXPECT_EQ(check.results_differ("n", "read", {512, 1024}, fail(EIO), {}), IoResult(fail(EIO)));
  EXPECT_EQ(check.contents_differ("n", {0, 512}, 7), IoResult(fail(EIO)));
  log.flush();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("blkverify: node 'n': read offset=512 bytes=1024 return value mismatch: Input/output error != "
                      "success"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("contents"), std::string::npos) << text;
}

}  // namespace
}  // namespace blockexport::drivers
