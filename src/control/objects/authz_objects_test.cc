// Authorization objects, used through the functions of the commands, and a list file that changes on a real disk.
#include "control/objects/authz_objects.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "authz/authorizer.h"
#include "control/core/control.h"
#include "drivers/driver_table.h"
#include "json/parser.h"
#include "schema/codec.h"
#include "schema/qom_commands.h"

namespace blockexport::control {
namespace {

constexpr std::string_view kAllowAnna = R"({"rules": [{"match": "CN=anna", "policy": "allow"}]})";
constexpr std::string_view kAllowBob = R"({"rules": [{"match": "CN=bob", "policy": "allow"}]})";

class AuthzObjectsTest : public aio::testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    if (simulated()) GTEST_SKIP() << "directories are the host's";
    control_ = std::make_unique<Control>(reactor(), DataReactorOptions{}, log_, drivers_, [] {});
  }
  void TearDown() override {
    if (control_) run(control_->shut_down());
  }
  template <class T>
  static aio::Task<void> keep(aio::Task<T> task, T& result) {
    result = co_await std::move(task);
  }
  // Makes an object; returns "" or the error's message.
  std::string add(std::string_view options) {
    Result<> result;
    auto decoded = schema::decode<schema::ObjectOptions>(*json::parse(options));
    if (!decoded) return decoded.error().message();
    run(keep(object_add(*control_, std::move(*decoded)), result));
    return result ? "" : result.error().message();
  }
  std::string add_list_file(const std::string& path) {
    return add(R"({"qom-type": "authz-list-file", "id": "door", "filename": ")" + path + "\"}");
  }
  bool remove(std::string id) {
    Result<> result;
    run(keep(object_del(*control_, {.id = std::move(id)}), result));
    return result.has_value();
  }
  bool set(std::string property, std::string_view value) {
    Result<> result;
    run(keep(
        qom_set(*control_, {.path = "/objects/door", .property = std::move(property), .value = *json::parse(value)}),
        result));
    return result.has_value();
  }
  authz::Verdict ask(std::string identity, std::string id = "door") {
    authz::Verdict verdict;
    run(keep(authz::authorize(control_->authorizers(), std::move(id), std::move(identity)), verdict));
    return verdict;
  }
  static aio::Task<void> until(Control& control, std::string identity, bool allowed) {
    for (;;) {
      authz::Verdict verdict = co_await authz::authorize(control.authorizers(), "door", identity);
      if (verdict.allowed == allowed) co_return;
      (void)co_await control.reactor().sleep_until(control.reactor().now_ns() + 5'000'000);
    }
  }
  // Runs until the identity is allowed, or denied; the fixture limits the time.
  void await(std::string identity, bool allowed) { run(until(*control_, std::move(identity), allowed)); }

  static void write(const std::string& path, std::string_view text) { std::ofstream(path) << text; }

  aio::testing::TemporaryDirectory directory_;
  drivers::BuiltInDrivers drivers_;
  Log log_{"control_test", 2, LogLevel::kError};
  std::unique_ptr<Control> control_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(AuthzObjectsTest);

TEST_P(AuthzObjectsTest, AnObjectThatIsMissingOrOfAnotherTypeDenies) {
  authz::Verdict missing = ask("CN=anna");
  EXPECT_FALSE(missing.allowed);
  EXPECT_EQ(missing.reason, "Cannot find QAuthZ object ID door");
  ASSERT_EQ(add(R"({"qom-type": "iothread", "id": "io0"})"), "");
  authz::Verdict other = ask("CN=anna", "io0");
  EXPECT_FALSE(other.allowed);
  EXPECT_EQ(other.reason, "Object 'io0' is not a QAuthZ subclass");
}

TEST_P(AuthzObjectsTest, ADeletedObjectDeniesAndANewOneOfItsNameDecides) {
  ASSERT_EQ(add(R"({"qom-type": "authz-simple", "id": "door", "identity": "CN=anna"})"), "");
  EXPECT_TRUE(ask("CN=anna").allowed);
  EXPECT_TRUE(remove("door"));
  EXPECT_FALSE(ask("CN=anna").allowed);
  ASSERT_EQ(add(R"({"qom-type": "authz-list", "id": "door", "policy": "allow"})"), "");
  EXPECT_TRUE(ask("CN=anna").allowed);
}

TEST_P(AuthzObjectsTest, QomSetChangesTheNextDecision) {
  ASSERT_EQ(add(R"({"qom-type": "authz-list", "id": "door"})"), "");
  EXPECT_FALSE(ask("CN=anna").allowed);
  EXPECT_TRUE(set("rules", R"([{"match": "CN=a*", "policy": "allow", "format": "glob"}])"));
  EXPECT_TRUE(ask("CN=anna").allowed);
  EXPECT_FALSE(ask("CN=bob").allowed);
  EXPECT_TRUE(set("policy", "\"allow\""));
  EXPECT_TRUE(ask("CN=bob").allowed);
  EXPECT_FALSE(set("rules", R"([{"match": "CN=a*"}])"));
  EXPECT_TRUE(ask("CN=anna").allowed);
}

TEST_P(AuthzObjectsTest, AListFileIsFollowedHoweverItIsReplaced) {
  std::string path = directory_.path() + "/list.json";
  write(path, kAllowAnna);
  ASSERT_EQ(add_list_file(path), "");
  EXPECT_TRUE(ask("CN=anna").allowed);
  write(path, kAllowBob);
  await("CN=bob", true);
  EXPECT_FALSE(ask("CN=anna").allowed);
  write(path + ".new", kAllowAnna);
  ASSERT_EQ(rename((path + ".new").c_str(), path.c_str()), 0);
  await("CN=anna", true);
}

TEST_P(AuthzObjectsTest, AListFileIsFollowedThroughALinkThatIsReplaced) {
  // A directory as orchestrators mount it: list.json -> ..data/list.json, and ..data -> a directory, renamed into
  // place.
  std::string base = directory_.path();
  for (const char* one : {"/1", "/2"}) ASSERT_EQ(mkdir((base + one).c_str(), 0700), 0);
  write(base + "/1/list.json", kAllowAnna);
  write(base + "/2/list.json", kAllowBob);
  ASSERT_EQ(symlink("1", (base + "/..data").c_str()), 0);
  ASSERT_EQ(symlink("..data/list.json", (base + "/list.json").c_str()), 0);
  ASSERT_EQ(add_list_file(base + "/list.json"), "");
  EXPECT_TRUE(ask("CN=anna").allowed);
  ASSERT_EQ(symlink("2", (base + "/..new").c_str()), 0);
  ASSERT_EQ(rename((base + "/..new").c_str(), (base + "/..data").c_str()), 0);
  await("CN=bob", true);
}

TEST_P(AuthzObjectsTest, AnInvalidOrMissingListDeniesUntilItIsValidAgain) {
  std::string path = directory_.path() + "/list.json";
  write(path, kAllowAnna);
  ASSERT_EQ(add_list_file(path), "");
  write(path, "{\"rules\":");
  await("CN=anna", false);
  EXPECT_EQ(ask("CN=anna").reason,
            "there are no rules: File '" + path + "': 1:10: JSON parse error, premature end of input");
  write(path, kAllowAnna);
  await("CN=anna", true);
  ASSERT_EQ(unlink(path.c_str()), 0);
  await("CN=anna", false);
  write(path, kAllowAnna);
  await("CN=anna", true);
}

TEST_P(AuthzObjectsTest, AListFileIsFoundAgainWhenItsDirectoryComesBack) {
  std::string inner = directory_.path() + "/inner";
  ASSERT_EQ(mkdir(inner.c_str(), 0700), 0);
  write(inner + "/list.json", kAllowAnna);
  ASSERT_EQ(add_list_file(inner + "/list.json"), "");
  std::filesystem::remove_all(inner);
  await("CN=anna", false);
  ASSERT_EQ(mkdir(inner.c_str(), 0700), 0);
  write(inner + "/list.json", kAllowBob);
  await("CN=bob", true);
}

TEST_P(AuthzObjectsTest, AListFileWithoutRefreshIsReadOnce) {
  std::string path = directory_.path() + "/list.json";
  write(path, kAllowAnna);
  ASSERT_EQ(add(R"({"qom-type": "authz-listfile", "id": "door", "refresh": false, "filename": ")" + path + "\"}"), "");
  ASSERT_EQ(add(R"({"qom-type": "authz-list-file", "id": "other", "filename": ")" + path + "\"}"), "");
  write(path, kAllowBob);
  // By then the object with refresh has seen the change.
  while (!ask("CN=bob", "other").allowed) reactor().run_once(5'000'000);
  EXPECT_TRUE(ask("CN=anna").allowed);
  EXPECT_FALSE(ask("CN=bob").allowed);
}

TEST_P(AuthzObjectsTest, AListFileObjectCanBeRemovedWhileItsFileIsInvalid) {
  std::string path = directory_.path() + "/list.json";
  write(path, kAllowAnna);
  ASSERT_EQ(add_list_file(path), "");
  write(path, "x");
  for (int i = 0; i < 20; ++i) reactor().run_once(1'000'000);
  EXPECT_TRUE(remove("door"));
  EXPECT_FALSE(ask("CN=anna").allowed);
}

}  // namespace
}  // namespace blockexport::control
