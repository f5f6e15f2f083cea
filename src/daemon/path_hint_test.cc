#include "daemon/path_hint.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace blockexport::daemon {
namespace {

class PathHintTest : public testing::Test {
 protected:
  PathHintTest() {
    std::string pattern = testing::TempDir() + "path_hint.XXXXXX";
    directory_ = mkdtemp(pattern.data());
    std::filesystem::create_directory(path("there"));
    std::ofstream(path("there/file")) << "text";
  }
  ~PathHintTest() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  static std::string hint(OptionKind kind, const std::string& argument, const std::string& message) {
    return path_hint({.kind = kind, .argument = WipedText(argument), .as_typed = ""}, message);
  }

  std::string directory_;
};

TEST_F(PathHintTest, NamesTheFirstDirectoryThatIsMissing) {
  EXPECT_EQ(path_hint(path("no/such/file")), "There is no directory '" + path("no") + "'.");
  EXPECT_EQ(path_hint(path("there//no/file")), "There is no directory '" + path("there//no") + "'.");
}

TEST_F(PathHintTest, HasNothingToSayOfAFileThatIsMissing) {
  EXPECT_EQ(path_hint(path("there/no")), "");
  EXPECT_EQ(path_hint(path("there/file")), "");
  EXPECT_EQ(path_hint(""), "");
  EXPECT_EQ(path_hint("/"), "");
}

TEST_F(PathHintTest, NamesWhatIsNoDirectory) {
  EXPECT_EQ(path_hint(path("there/file/more")), "'" + path("there/file") + "' is not a directory.");
}

TEST_F(PathHintTest, NamesALinkThatLeadsNowhere) {
  std::filesystem::create_symlink("nowhere", path("link"));
  EXPECT_EQ(path_hint(path("link")), "'" + path("link") + "' is a symbolic link to something that does not exist.");
}

TEST_F(PathHintTest, SaysWhereARelativePathBegins) {
  EXPECT_EQ(path_hint("no-such-directory/file"),
            "There is no directory 'no-such-directory' in " + std::filesystem::current_path().string() + ".");
}

TEST_F(PathHintTest, FindsThePathInAnOption) {
  const std::string image = path("no/disk");
  const std::string expected = "There is no directory '" + path("no") + "'.";
  const std::string message = "Could not open '" + image + "': No such file or directory";
  EXPECT_EQ(hint(OptionKind::kBlockdev, "file,node-name=a,filename=" + image, message), expected);
  EXPECT_EQ(hint(OptionKind::kBlockdev, R"({"file": {"filename": ")" + image + R"("}})", message), expected);
  EXPECT_EQ(hint(OptionKind::kChardev, "file,id=a,path=" + image, message), expected);
  EXPECT_EQ(hint(OptionKind::kObject, "authz-list-file,filename=" + image,
                 "Unable to watch '" + path("no") + "': No such file or directory"),
            expected);
}

TEST_F(PathHintTest, LeavesOtherErrorsAlone) {
  const std::string image = path("no/disk");
  EXPECT_EQ(hint(OptionKind::kBlockdev, "file,filename=" + image, "Could not open '" + image + "': No space left"), "");
  EXPECT_EQ(hint(OptionKind::kBlockdev, "file,other=" + image, "Could not open 'a': No such file or directory"), "");
}

}  // namespace
}  // namespace blockexport::daemon
