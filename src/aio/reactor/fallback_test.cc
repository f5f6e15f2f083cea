// Fallback to epoll when the kernel refuses io_uring, as container profiles do. A seccomp filter applies to the thread
// that installs it, so each test runs in a thread of its own.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "aio/reactor/reactor.h"
#include "base/log.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

bool refuse_system_call(unsigned number, unsigned error) {
  std::array<sock_filter, 4> code = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  sock_fprog program{code.size(), code.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct Outcome {
  bool filtered = false;
  std::string backend;  // or empty
  std::string error;
  std::string hint;
  std::string log;
};

Outcome create_refused(BackendKind kind, unsigned error) {
  Outcome outcome;
  int ends[2];
  if (pipe(ends) != 0) return outcome;
  OwnedFd reading(ends[0]);
  OwnedFd writing(ends[1]);
  std::thread([&] {
    outcome.filtered = refuse_system_call(SYS_io_uring_setup, error);
    Log log("test", writing.get(), LogLevel::kInfo);
    ReactorOptions options;
    options.backend = kind;
    Result<std::unique_ptr<Reactor>> made = Reactor::create(options, log);
    if (made) {
      outcome.backend = (*made)->backend_name();
    } else {
      outcome.error = made.error().message();
      outcome.hint = made.error().hint();
    }
  }).join();
  writing.reset();
  char text[512];
  ssize_t count = read(reading.get(), text, sizeof text);
  if (count > 0) outcome.log.assign(text, static_cast<std::size_t>(count));
  return outcome;
}

TEST(FallbackTest, AutoUsesEpollAndSaysSoOnce) {
  Outcome outcome = create_refused(BackendKind::kAuto, EPERM);
  ASSERT_TRUE(outcome.filtered);
  EXPECT_EQ(outcome.backend, "epoll");
  EXPECT_EQ(outcome.log, "test: info: io_uring is not available: Operation not permitted; using epoll\n");
}

TEST(FallbackTest, AutoUsesEpollOnAKernelWithoutIt) {
  Outcome outcome = create_refused(BackendKind::kAuto, ENOSYS);
  ASSERT_TRUE(outcome.filtered);
  EXPECT_EQ(outcome.backend, "epoll");
  EXPECT_NE(outcome.log.find("Function not implemented"), std::string::npos) << outcome.log;
}

TEST(FallbackTest, AskedForByNameItIsAnErrorWithTheLikelyCause) {
  Outcome outcome = create_refused(BackendKind::kIoUring, EPERM);
  ASSERT_TRUE(outcome.filtered);
  EXPECT_EQ(outcome.backend, "");
  EXPECT_EQ(outcome.error, "io_uring is not available: Operation not permitted");
  EXPECT_NE(outcome.hint.find("seccomp"), std::string::npos) << outcome.hint;
  EXPECT_NE(outcome.hint.find("kernel.io_uring_disabled"), std::string::npos) << outcome.hint;
}

TEST(FallbackTest, EpollAskedForByNameSaysNothing) {
  Outcome outcome = create_refused(BackendKind::kEpoll, EPERM);
  ASSERT_TRUE(outcome.filtered);
  EXPECT_EQ(outcome.backend, "epoll");
  EXPECT_EQ(outcome.log, "");
}

}  // namespace
}  // namespace blockexport::aio
