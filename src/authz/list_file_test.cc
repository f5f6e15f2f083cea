#include "authz/list_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::authz {
namespace {

// Parser of a test format: the text "allow NAME" is a list of one rule.
Result<RuleList> parse(std::string_view filename, std::string_view text) {
  if (!text.starts_with("allow ")) return fail("File '" + std::string(filename) + "' is no list");
  return RuleList{.rules = {{.match = std::string(text.substr(6)), .allows = true}}};
}

// Reports a change when the test asks for it.
class ManualChanges final : public ChangeSource {
 public:
  explicit ManualChanges(aio::Reactor& reactor) : event_(reactor) {}
  void notify() { event_.set(); }
  void fail_with(int error) {
    error_ = error;
    event_.set();
  }
  aio::Task<IoResult> changed() override {
    IoResult waited = co_await event_.wait();
    if (!waited) co_return waited;
    if (error_ != 0) co_return fail(error_);
    event_.reset();
    co_return IoResult{};
  }

 private:
  aio::Event event_;
  int error_ = 0;
};

class ListFileTest : public aio::testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    path_ = make_file("allow anna");
    file_ = std::make_shared<ListFile>(reactor(), log_, path_, parse);
  }
  void write(std::string_view text) {
    if (simulated()) {
      simulation().write_file(path_, std::as_bytes(std::span(text)));
    } else {
      std::ofstream(path_) << text;
    }
  }
  template <class T>
  static aio::Task<void> keep(aio::Task<T> task, T& result) {
    result = co_await std::move(task);
  }
  Result<> load() {
    Result<> result;
    run(keep(file_->load(), result));
    return result;
  }
  Verdict check(std::string identity) {
    Verdict verdict;
    run(keep(file_->check(std::move(identity)), verdict));
    return verdict;
  }
  // Repeats the check until its result is `allowed`.
  static aio::Task<void> until(aio::Reactor& reactor, ListFile& file, std::string identity, bool allowed) {
    for (;;) {
      Verdict verdict = co_await file.check(identity);
      if (verdict.allowed == allowed) co_return;
      (void)co_await reactor.sleep_until(reactor.now_ns() + 1'000'000);
    }
  }

  Log log_{"authz_test", 2, LogLevel::kError};
  std::string path_;
  std::shared_ptr<ListFile> file_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(ListFileTest);

TEST_P(ListFileTest, DeniesUntilItWasReadAndThenGoesByItsRules) {
  Verdict early = check("anna");
  EXPECT_FALSE(early.allowed);
  EXPECT_EQ(early.reason, "there are no rules: it has not been read yet");
  ASSERT_TRUE(load());
  EXPECT_TRUE(check("anna").allowed);
  EXPECT_FALSE(check("bob").allowed);
}

TEST_P(ListFileTest, ABrokenFileIsAnErrorOfLoading) {
  write("nonsense");
  EXPECT_EQ(load().error().message(), "File '" + path_ + "' is no list");
  EXPECT_FALSE(check("anna").allowed);
}

TEST_P(ListFileTest, AMissingFileIsAnErrorOfLoading) {
  file_ = std::make_shared<ListFile>(reactor(), log_, path_ + ".none", parse);
  EXPECT_EQ(load().error().message(), "Unable to read '" + path_ + ".none': No such file or directory");
}

TEST_P(ListFileTest, AFileThatIsTooLongIsNoList) {
  write("allow " + std::string(kListFileBytesMax - 6, 'x'));
  EXPECT_TRUE(load());
  write("allow " + std::string(kListFileBytesMax - 5, 'x'));
  EXPECT_EQ(load().error().message(), "Unable to read '" + path_ + "': it is longer than 1048576 bytes");
}

TEST_P(ListFileTest, APipeOrADirectoryIsRefusedAndNotWaitedFor) {
  if (simulated()) GTEST_SKIP() << "there are files alone";
  aio::testing::TemporaryDirectory directory;
  std::string pipe = directory.path() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, directory.path()}) {
    file_ = std::make_shared<ListFile>(reactor(), log_, path, parse);
    EXPECT_EQ(load().error().message(), "Unable to read '" + path + "': it is not a regular file");
  }
}

TEST_P(ListFileTest, FollowsItsFile) {
  ASSERT_TRUE(load());
  ManualChanges changes(reactor());
  IoResult ended;
  aio::Scope scope(reactor());
  scope.spawn("follow", keep(file_->follow(changes), ended));
  write("allow bob");
  changes.notify();
  run(until(reactor(), *file_, "bob", true));
  EXPECT_FALSE(check("anna").allowed);
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(ended, IoResult(fail(ECANCELED)));
}

TEST_P(ListFileTest, TheOldRulesStandWhileABrokenFileMayBecomeWhole) {
  ASSERT_TRUE(load());
  aio::Scope scope(reactor());
  write("half a li");
  scope.spawn("refresh", file_->refresh());
  EXPECT_TRUE(check("anna").allowed);
  write("allow bob");
  run(scope.join());
  EXPECT_TRUE(check("bob").allowed);
  EXPECT_FALSE(check("anna").allowed);
}

TEST_P(ListFileTest, AFileThatStaysBrokenDeniesEveryoneAndAWholeOneEndsThat) {
  ASSERT_TRUE(load());
  std::uint64_t before_ns = reactor().now_ns();
  write("nonsense");
  run(file_->refresh());
  EXPECT_GE(reactor().now_ns() - before_ns, kListFileGraceNs);
  Verdict verdict = check("anna");
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.rule, "");
  EXPECT_EQ(verdict.reason, "there are no rules: File '" + path_ + "' is no list");
  // The file has the same text again as before it was invalid, and applies again.
  write("allow anna");
  run(file_->refresh());
  EXPECT_TRUE(check("anna").allowed);
}

TEST_P(ListFileTest, AFileThatIsGoneDeniesEveryone) {
  if (simulated()) GTEST_SKIP() << "files are not removed there";
  ASSERT_TRUE(load());
  ASSERT_EQ(std::remove(path_.c_str()), 0);
  run(file_->refresh());
  EXPECT_FALSE(check("anna").allowed);
}

TEST_P(ListFileTest, ABrokenFileIsReadAgainThoughNobodyTellsOfAChange) {
  ASSERT_TRUE(load());
  ManualChanges changes(reactor());
  IoResult ended;
  aio::Scope scope(reactor());
  write("nonsense");
  scope.spawn("follow", keep(file_->follow(changes), ended));
  run(until(reactor(), *file_, "anna", false));
  write("allow bob");
  run(until(reactor(), *file_, "bob", true));
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(ended, IoResult(fail(ECANCELED)));
}

TEST_P(ListFileTest, FollowingEndsWhenNoMoreIsTold) {
  ASSERT_TRUE(load());
  ManualChanges changes(reactor());
  changes.fail_with(ENOENT);
  IoResult ended;
  run(keep(file_->follow(changes), ended));
  EXPECT_EQ(ended, IoResult(fail(ENOENT)));
  EXPECT_TRUE(check("anna").allowed);
}

}  // namespace
}  // namespace blockexport::authz
