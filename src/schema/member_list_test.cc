#include "schema/member_list.h"

#include <gtest/gtest.h>

#include "sample_schema/sample.h"
#include "schema/sample/json_text.h"

namespace blockexport::schema {
namespace {

using test::object;

template <class T>
std::string listed(const json::Value& document = json::Object()) {
  std::string text;
  for (const MemberDescription& member : list_members<T>(document)) {
    if (!text.empty()) text += ' ';
    text += member.name + (member.is_required ? "!" : "") + '=' + member.type;
  }
  return text;
}

TEST(MemberList, TellsTypesAndWhatIsRequired) {
  EXPECT_EQ(listed<Point>(), "x!=int y!=int color=red|dark-green|3d|old");
  EXPECT_TRUE(listed<Everything>().starts_with("str=string number=number int=int int8=int"));
  EXPECT_NE(listed<Everything>().find("uint64=int size=size bool=bool null=null any=any"), std::string::npos);
}

TEST(MemberList, ShowsTheBranchThatIsWritten) {
  EXPECT_EQ(listed<Shape>(object({{"kind", "circle"}})), "kind!=dot|circle|group|wrapper label=string radius!=int");
  EXPECT_EQ(listed<Shape>(), "kind!=dot|circle|group|wrapper label=string");
  EXPECT_EQ(listed<Shape>(object({{"kind", "nonsense"}})), listed<Shape>());
}

TEST(MemberList, TakesAnAlternateForOneMember) {
  EXPECT_EQ(listed<Wrapper>(), "inner!=ShapeRef");
  EXPECT_EQ(listed<Choices>(), "mixed=Mixed paint=ColorOrPoint paints.0=ColorOrPoint");
}

TEST(MemberList, ShowsOneElementOfAList) {
  const std::string text = listed<Lists>();
  EXPECT_TRUE(text.starts_with("strings.0=string truths.0=bool")) << text;
  EXPECT_NE(text.find("points.0.x=int points.0.y=int"), std::string::npos) << text;
}

TEST(MemberList, EndsWithTypesThatContainThemselves) {
  const std::string text = listed<Tree>();
  EXPECT_TRUE(text.starts_with("name!=string left.name=string left.left.name=string")) << text;
}

}  // namespace
}  // namespace blockexport::schema
