#include "schema/hints.h"

#include <gtest/gtest.h>

#include <vector>

#include "json/value.h"
#include "sample_schema/sample.h"
#include "schema/codec.h"
#include "schema/elsewhere.h"
#include "schema/sample/json_text.h"

namespace blockexport::schema {
namespace {

using test::object;
using Names = std::vector<std::string_view>;

template <class T>
std::string hint_of(const json::Value& document) {
  auto decoded = decode_keyval<T>(document);
  return decoded ? "no error" : decoded.error().hint();
}

TEST(Hints, NameTheOptionThatWasMeant) {
  EXPECT_EQ(hint_of<Point>(object({{"x", "1"}, {"y", "1"}, {"shade", "a"}})), "Accepted options: x, y, color.");
  EXPECT_EQ(hint_of<Everything>(object({{"numbre", "1"}})), "Did you mean 'number' instead of 'numbre'?");
  EXPECT_EQ(hint_of<Wrapper>(object({{"inner", object({{"kind", "circle"}, {"radius", "3"}, {"labl", "a"}})}})),
            "Did you mean 'inner.label' instead of 'inner.labl'?");
}

TEST(Hints, NameTheWordThatStandsForAMissingOption) {
  EXPECT_EQ(hint_of<Wrapper>(object({{"iner", "a"}})), "Did you mean 'inner' instead of 'iner'?");
  EXPECT_EQ(hint_of<Wrapper>(object({{"inner", object({{"knd", "circle"}})}})),
            "Did you mean 'inner.kind' instead of 'inner.knd'?");
  EXPECT_EQ(hint_of<Wrapper>(object({{"outside", "a"}})), "");
}

TEST(Hints, ListTheAcceptedValues) {
  EXPECT_EQ(hint_of<Wrapper>(object({{"inner", object({{"kind", "cirle"}})}})),
            "Did you mean 'circle' instead of 'cirle'? 'inner.kind' accepts: dot, circle, group, wrapper.");
  EXPECT_EQ(hint_of<Wrapper>(object({{"inner", object({{"kind", "x"}})}})),
            "'inner.kind' accepts: dot, circle, group, wrapper.");
}

TEST(Hints, TellASlipFromWhatIsNotBuilt) {
  const std::string note =
      "'rbd' is known to qemu-storage-daemon " + std::string(kElsewhereVersion) + ", and is not built here yet.";
  EXPECT_EQ(hint_for_value("driver", "driver", "rbd", Names({"blkdebug", "raw"})),
            note + " 'driver' accepts: blkdebug, raw.");
  EXPECT_EQ(hint_for_value("type", "type", "rbd", Names({"file", "raw"})), "'type' accepts: file, raw.");
  EXPECT_NE(hint_for_option("pr-manager", Names({"driver"}), "driver file", "").find("not built here yet"),
            std::string::npos);
  EXPECT_EQ(hint_for_option("pr-manager", Names({"driver"}), "driver raw", ""), "Accepted options: driver.");
  EXPECT_NE(hint_for_option("active", Names({"driver"}), "driver raw", "").find("not built here yet"),
            std::string::npos);
}

TEST(Hints, RepeatNoLongText) {
  const std::string text(100'000, 'a');
  EXPECT_EQ(hint_for_option(text, Names({"b"}), "", ""), "Accepted options: b.");
  EXPECT_EQ(hint_for_absent_option("aaa", Names({text}), ""), "");
}

TEST(Hints, ListEachNameOnceAndNotAllOfMany) {
  EXPECT_EQ(hint_for_option("xyz", Names({"a", "b", "a"}), "", ""), "Accepted options: a, b.");
  std::vector<std::string> many;
  for (std::size_t i = 0; i <= kHintNamesMax; ++i) many.push_back(std::to_string(i));
  const std::string hint = hint_for_option("xyz", Names(many.begin(), many.end()), "", "");
  EXPECT_TRUE(hint.ends_with(", 63 and more.")) << hint;
}

}  // namespace
}  // namespace blockexport::schema
