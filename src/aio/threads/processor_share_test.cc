#include "aio/threads/processor_share.h"

#include <gtest/gtest.h>
#include <sched.h>

namespace blockexport::aio {
namespace {

TEST(ProcessorShareTest, ReadsTheQuotaOfACgroup) {
  EXPECT_EQ(quota_of("50000 100000\n"), 0.5);
  EXPECT_EQ(quota_of("200000 100000\n"), 2.0);
  EXPECT_EQ(quota_of("max 100000\n"), std::nullopt);
  for (const char* bad : {"", "50000", "50000 ", "50000 0\n", "-1 100000", "50000\t100000", "99999999999999999999 1"}) {
    EXPECT_EQ(quota_of(bad), std::nullopt) << bad;
  }
}

TEST(ProcessorShareTest, ReadsTheQuotaOfAnOlderCgroup) {
  EXPECT_EQ(quota_of("50000\n", "100000\n"), 0.5);
  EXPECT_EQ(quota_of("-1\n", "100000\n"), std::nullopt);
  for (const char* bad : {"", "\n", "x\n"}) {
    EXPECT_EQ(quota_of(bad, "100000\n"), std::nullopt) << bad;
    EXPECT_EQ(quota_of("50000\n", bad), std::nullopt) << bad;
  }
}

TEST(ProcessorShareTest, FindsTheCgroupOfAController) {
  constexpr std::string_view kBoth = "9:name=systemd:/\n2:cpuacct,cpu:/a/b\n1:cpuset:/c/\n0::/d\n";
  EXPECT_EQ(cgroup_of(kBoth, ""), "/d");
  EXPECT_EQ(cgroup_of(kBoth, "cpu"), "/a/b");
  EXPECT_EQ(cgroup_of(kBoth, "cpuset"), "/c");
  EXPECT_EQ(cgroup_of(kBoth, "memory"), std::nullopt);
  EXPECT_EQ(cgroup_of("0::/\n", ""), "");
  for (const char* bad : {"", "\n", "0", "0:", "0:cpu", "::"}) {
    EXPECT_EQ(cgroup_of(bad, "cpu"), std::nullopt) << bad;
  }
}

TEST(ProcessorShareTest, CountsTheProcessorsOfTheAffinity) {
  cpu_set_t before;
  CPU_ZERO(&before);
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int processor = 0; processor < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++processor) {
    if (CPU_ISSET(processor, &before)) CPU_SET(processor, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_processors(), 1u);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace blockexport::aio
