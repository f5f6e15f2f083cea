#include "base/trace.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/log.h"

namespace blockexport {
namespace {

TEST(Trace, EverythingIsOffAtFirst) {
  Trace trace;
  for (std::size_t i = 0; i < Trace::kNames.size(); ++i) EXPECT_FALSE(trace.is_on(static_cast<TraceEvent>(i)));
  Log log("test", 2, LogLevel::kError);
  EXPECT_FALSE(log.trace().is_on(TraceEvent::kNbdRequestBegin));
}

TEST(Trace, NamesAreSortedAndStandWithTheirEvents) {
  EXPECT_TRUE(std::ranges::is_sorted(Trace::kNames));
  EXPECT_EQ(Trace::kNames[static_cast<std::size_t>(TraceEvent::kNbdRequestEnd)], "nbd_request_end");
  EXPECT_EQ(Trace::kNames[static_cast<std::size_t>(TraceEvent::kQmpCommandEnd)], "qmp_command_end");
}

TEST(Trace, PatternsSwitchOnAndOff) {
  Trace trace;
  EXPECT_TRUE(trace.apply("nbd_*"));
  EXPECT_TRUE(trace.is_on(TraceEvent::kNbdClientLeft));
  EXPECT_FALSE(trace.is_on(TraceEvent::kQmpCommandBegin));
  EXPECT_TRUE(trace.apply("-nbd_*_b?gin"));
  EXPECT_TRUE(trace.apply("-nbd_*gin*"));
  EXPECT_FALSE(trace.is_on(TraceEvent::kNbdRequestBegin));
  EXPECT_TRUE(trace.is_on(TraceEvent::kNbdRequestEnd));
  EXPECT_TRUE(trace.apply("-nbd_request_end"));
  EXPECT_FALSE(trace.is_on(TraceEvent::kNbdRequestEnd));
}

TEST(Trace, ANameThatIsNoneIsTold) {
  Trace trace;
  EXPECT_FALSE(trace.apply("nbd_request"));
  EXPECT_FALSE(trace.apply("-nbd_request_endx"));
  EXPECT_FALSE(trace.apply(""));
  EXPECT_TRUE(trace.apply("nothing*"));
}

TEST(Trace, LinesGoToTheFileAndArePrintable) {
  char path[] = "/tmp/trace_test.XXXXXX";
  OwnedFd made(mkstemp(path));
  ASSERT_TRUE(made);
  Trace trace;
  ASSERT_TRUE(trace.write_to_file(path));
  trace.write(TraceEvent::kNbdClientLeft, "a\nb");
  trace.write(TraceEvent::kNbdRequestEnd, "cookie 1");
  trace.flush();
  std::stringstream content;
  content << std::ifstream(path).rdbuf();
  unlink(path);
  EXPECT_EQ(content.str(), "nbd_client_left a\\x0ab\nnbd_request_end cookie 1\n");
  EXPECT_EQ(trace.write_to_file("/nonexistent/x").error().message(),
            "Error opening logfile /nonexistent/x: No such file or directory");
}

TEST(Trace, APipeThatNobodyReadsIsAnErrorAndNotWaitedFor) {
  char directory[] = "/tmp/trace_test.XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string pipe = std::string(directory) + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  Trace trace;
  EXPECT_EQ(trace.write_to_file(pipe).error().message(),
            "Error opening logfile " + pipe + ": No such device or address");
  unlink(pipe.c_str());
  rmdir(directory);
}

}  // namespace
}  // namespace blockexport
