#include "daemon/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/owned_fd.h"
#include "daemon/landlock.h"
#include "daemon/system_call_filter.h"

namespace blockexport::daemon {
namespace {

TEST(SandboxOptionsTest, TheModeIsFollowedByPaths) {
  const auto full = parse_sandbox("full,images=/srv,images=/dev/vg0,credentials=/pki,state=/s,,t,sockets=/run");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->mode, SandboxMode::kFull);
  EXPECT_EQ(full->images, (std::vector<std::string>{"/srv", "/dev/vg0"}));
  EXPECT_EQ(full->credentials, std::vector<std::string>{"/pki"});
  EXPECT_EQ(full->state, std::vector<std::string>{"/s,t"});
  EXPECT_EQ(full->sockets, std::vector<std::string>{"/run"});
  EXPECT_EQ(parse_sandbox("mode=seccomp")->mode, SandboxMode::kSeccomp);
  EXPECT_EQ(parse_sandbox("off")->mode, SandboxMode::kOff);
}

TEST(SandboxOptionsTest, WrongOnesAreRefused) {
  for (const char* wrong : {"", "ful", "full,images", "full,images=", "full,image=/srv", "seccomp,images=/srv",
                            "images=/srv", "off,state=/s"}) {
    EXPECT_FALSE(parse_sandbox(wrong)) << wrong;
  }
  EXPECT_TRUE(parse_sandbox("full,image=/srv").error().message().contains("images"));
}

// Runs `body` in a process of its own, and expects it to return 0: nothing leaves a sandbox.
template <class Body>
void in_a_child(Body body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(body());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the number of the line";
}

#define REQUIRE_HERE(condition) \
  if (!(condition)) return static_cast<int>(__LINE__ % 250 + 1)

class SandboxTest : public testing::Test {
 protected:
  SandboxTest() {
    std::string pattern = testing::TempDir() + "sandbox.XXXXXX";
    directory_ = mkdtemp(pattern.data());
    for (const char* name : {"images", "keys", "run", "other"}) {
      std::filesystem::create_directory(path(name));
      std::ofstream(path(name) + "/file") << "text";
    }
  }
  ~SandboxTest() override { std::filesystem::remove_all(directory_); }

  void SetUp() override {
    if (!has_system_call_filter()) GTEST_SKIP() << "built without seccomp";
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  std::string directory_;
};

// The errno of opening a file; 0 when it can be opened.
int error_of_opening(const std::string& path, int flags) {
  const OwnedFd file(open(path.c_str(), flags | O_CLOEXEC, 0600));
  return file ? 0 : errno;
}

TEST_F(SandboxTest, FullAdmitsOnlyFilesBeneathItsPaths) {
  if (landlock_version() == 0) GTEST_SKIP() << "the kernel has no Landlock";
  in_a_child([&] {
    const OwnedFd before(open(path("other/file").c_str(), O_RDWR | O_CLOEXEC));
    const SandboxOptions options{.mode = SandboxMode::kFull,
                                 .images = {path("images")},
                                 .credentials = {path("keys")},
                                 .state = {},
                                 .sockets = {path("run")}};
    REQUIRE_HERE(enter_sandbox(options));
    REQUIRE_HERE(error_of_opening(path("images/file"), O_RDWR) == 0);
    REQUIRE_HERE(error_of_opening(path("images/new"), O_RDWR | O_CREAT) == 0);
    REQUIRE_HERE(unlink(path("images/new").c_str()) == 0);
    REQUIRE_HERE(error_of_opening(path("keys/file"), O_RDONLY) == 0);
    REQUIRE_HERE(error_of_opening(path("keys/file"), O_RDWR) == EACCES);
    REQUIRE_HERE(error_of_opening(path("other/file"), O_RDONLY) == EACCES);
    REQUIRE_HERE(error_of_opening("/etc/passwd", O_RDONLY) == EACCES);
    REQUIRE_HERE(error_of_opening(path("images/../other/file"), O_RDONLY) == EACCES);
    REQUIRE_HERE(error_of_opening("/dev/null", O_RDWR) == 0);
    REQUIRE_HERE(pwrite(before.get(), "x", 1, 0) == 1);
    // Sockets, in their directory alone.
    const auto error_of_binding = [&](const std::string& at) {
      const OwnedFd made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      at.copy(address.sun_path, sizeof address.sun_path - 1);
      return bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
    };
    REQUIRE_HERE(error_of_binding(path("run/socket")) == 0);
    REQUIRE_HERE(unlink(path("run/socket").c_str()) == 0);
    REQUIRE_HERE(error_of_binding(path("images/socket")) == EACCES);
    return 0;
  });
}

TEST_F(SandboxTest, APathThatIsMissingIsAnError) {
  if (landlock_version() == 0) GTEST_SKIP() << "the kernel has no Landlock";
  in_a_child([&] {
    SandboxOptions options;
    options.mode = SandboxMode::kFull;
    options.images = {path("nothing")};
    const Result<> entered = enter_sandbox(options);
    REQUIRE_HERE(!entered &&
                 entered.error().message() == "--sandbox: '" + path("nothing") + "': No such file or directory");
    return 0;
  });
}

TEST_F(SandboxTest, APathWithADashMayBeMissing) {
  if (landlock_version() == 0) GTEST_SKIP() << "the kernel has no Landlock";
  in_a_child([&] {
    SandboxOptions options;
    options.mode = SandboxMode::kFull;
    options.images = {"-" + path("nothing"), "-" + path("images")};
    REQUIRE_HERE(enter_sandbox(options));
    REQUIRE_HERE(open((path("images") + "/file").c_str(), O_RDWR) >= 0);
    REQUIRE_HERE(open((path("other") + "/file").c_str(), O_RDONLY) == -1 && errno == EACCES);
    return 0;
  });
}

TEST_F(SandboxTest, SeccompForbidsProcessesCodeAndOtherKindsOfSockets) {
  in_a_child([&] {
    REQUIRE_HERE(enter_sandbox({.mode = SandboxMode::kSeccomp}));
    REQUIRE_HERE(fork() == -1 && errno == EPERM);
    REQUIRE_HERE(execl("/bin/true", "true", nullptr) == -1 && errno == EPERM);
    REQUIRE_HERE(socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EPERM);
    REQUIRE_HERE(ioctl(0, TIOCSTI, "x") == -1 && errno == EPERM);
    REQUIRE_HERE(prctl(PR_SET_SECCOMP, 0, 0, 0, 0) == -1 && errno == EPERM);
    REQUIRE_HERE(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) >= 0);
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE_HERE(page != MAP_FAILED);
    REQUIRE_HERE(mprotect(page, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM);
    REQUIRE_HERE(mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    REQUIRE_HERE(error_of_opening(path("other/file"), O_RDWR) == 0);
    return 0;
  });
}

TEST_F(SandboxTest, ThreadsStartAndHaveNoCapabilities) {
  in_a_child([&] {
    REQUIRE_HERE(enter_sandbox({.mode = SandboxMode::kSeccomp}));
    int effective = -1;
    std::thread thread([&] {
      std::ifstream status("/proc/thread-self/status");
      for (std::string line; std::getline(status, line);) {
        if (line.starts_with("CapEff:")) effective = line.ends_with("0000000000000000") ? 0 : 1;
      }
    });
    thread.join();
    REQUIRE_HERE(effective == 0);
    return 0;
  });
}

TEST_F(SandboxTest, AnUnknownUserIsAnError) {
  const Result<> become = become_user("blockexport-nobody-has-this-name");
  ASSERT_FALSE(become);
  EXPECT_TRUE(become.error().message().contains("there is no user"));
}

TEST_F(SandboxTest, AnotherUserHasOnlyItsOwnRights) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  in_a_child([&] {
    REQUIRE_HERE(become_user("nobody"));
    REQUIRE_HERE(getuid() != 0 && geteuid() != 0 && getegid() != 0);
    REQUIRE_HERE(setuid(0) == -1);
    REQUIRE_HERE(error_of_opening("/proc/self/status", O_RDONLY) == 0);
    return 0;
  });
}

}  // namespace
}  // namespace blockexport::daemon
