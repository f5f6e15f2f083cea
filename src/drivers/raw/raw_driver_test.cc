#include "drivers/raw/raw_driver.h"

#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::IoBuffers;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using block::Permission;
using block::Permissions;
using Calls = std::vector<std::string>;

class RawDriverTest : public block::ReactorTest {
 protected:
  Result<std::unique_ptr<RawDriver>> open(RawOptions options) {
    return RawDriver::open(options, std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}));
  }
  std::string error_of(RawOptions options) {
    auto driver = open(options);
    return driver ? "" : driver.error().message();
  }

  MemoryDriverState state_{4096};
  Node file_{"file", std::make_unique<MemoryDriver>(state_), {.discard = block::DiscardMode::kUnmap}};
};

TEST_F(RawDriverTest, RefusesPartsOutsideOfTheChild) {
  EXPECT_EQ(error_of({.offset = 4097}), "Offset (4097) cannot be greater than size of the containing file (4096)");
  EXPECT_EQ(error_of({.offset = 4096, .size_bytes = 512}),
            "The sum of offset (4096) and size (512) has to be smaller or equal to the  actual size of the containing "
            "file (4096)");
  EXPECT_EQ(error_of({.offset = 1, .size_bytes = UINT64_MAX}).substr(0, 26), "The sum of offset (1) and ");
  EXPECT_EQ(error_of({.size_bytes = 7}), "Specified size is not multiple of 512");
}

TEST_F(RawDriverTest, PassesEveryVerbOnAtItsOffset) {
  auto driver = open({.offset = 1024, .size_bytes = 2048});
  ASSERT_TRUE(driver);
  RawDriver& raw = **driver;
  EXPECT_EQ(raw.size_bytes(), 2048u);
  char byte = 'x';
  iovec vector{&byte, 1};
  IoBuffers buffers(&vector, 1);
  EXPECT_TRUE(run(raw.write({5, 1}, buffers, {.force_unit_access = true})));
  EXPECT_TRUE(run(raw.read({5, 1}, buffers)));
  block::InlineHints hints;
  EXPECT_TRUE(raw.try_read(reactor(), {6, 1}, buffers, hints));
  EXPECT_TRUE(raw.try_write(reactor(), {7, 1}, buffers, hints));
  EXPECT_TRUE(run(raw.write_zeroes({8, 2}, {.may_unmap = true})));
  EXPECT_TRUE(run(raw.discard({9, 2})));
  EXPECT_TRUE(run(raw.flush()));
  EXPECT_TRUE(run(raw.prefetch({9, 2})));
  block::Extents extents;
  EXPECT_TRUE(run(raw.extents({0, 2048}, extents)));
  EXPECT_EQ(extents.size(), 1u);
  EXPECT_TRUE(raw.try_extents(reactor(), {10, 100}, extents));
  EXPECT_EQ(extents.back(), (block::Extent{.length = 100, .data = true}));
  EXPECT_EQ(state_.calls, (Calls{"write 1029+1 fua", "read 1029+1", "try_read 1030+1", "try_write 1031+1",
                                 "write_zeroes 1032+2 unmap", "discard 1033+2", "flush", "try_extents 1034+100"}));
}

TEST_F(RawDriverTest, ItsChildCountsASharedReadOnceThoughAPartOfItHasToBeRead) {
  auto driver = open({.offset = 1024, .size_bytes = 2048});
  ASSERT_TRUE(driver);
  state_.shares = true;
  auto span = (*driver)->try_share(reactor(), {0, 2048});
  ASSERT_TRUE(span);
  EXPECT_EQ(span->offset, 1024u);
  char byte = 'x';
  iovec vector{&byte, 1};
  EXPECT_TRUE(run((*driver)->read_shared({5, 1}, IoBuffers(&vector, 1))));
  EXPECT_EQ(state_.calls, (Calls{"read 1029+1"}));
  EXPECT_EQ(file_.statistics().read.operations(), 1u);
  EXPECT_EQ(file_.statistics().read.bytes(), 2048u);
}

TEST_F(RawDriverTest, ReachesToTheEndOfItsChild) {
  auto driver = open({.offset = 1024});
  ASSERT_TRUE(driver);
  EXPECT_EQ((*driver)->size_bytes(), 3072u);
  state_.bytes.resize(512);
  EXPECT_EQ((*driver)->size_bytes(), 0u);
}

// A part may begin at any offset: every byte up to the end of the child is readable, and none behind it.
TEST_F(RawDriverTest, APartOfAnOddSizeHasExactlyThatSize) {
  for (std::uint64_t offset : {1u, 100u, 511u, 513u, 4095u}) {
    SCOPED_TRACE(offset);
    auto driver = open({.offset = offset});
    ASSERT_TRUE(driver);
    Node part{"part", std::move(*driver), {}};
    const std::uint64_t size = 4096 - offset;
    EXPECT_EQ(part.size_bytes(), size);
    char bytes[2] = {'x', 'y'};
    iovec one{bytes, 1};
    iovec both{bytes, 2};
    state_.bytes.assign(4096, std::byte{'.'});
    EXPECT_TRUE(run(part.write({size - 1, 1}, IoBuffers(&one, 1), {})));
    EXPECT_EQ(state_.bytes[4095], std::byte{'x'});
    EXPECT_TRUE(run(part.read({size - 1, 1}, IoBuffers(&one, 1))));
    EXPECT_EQ(run(part.write({size, 1}, IoBuffers(&one, 1), {})), IoResult(fail(ENOSPC)));
    EXPECT_EQ(run(part.write({size - 1, 2}, IoBuffers(&both, 1), {})), IoResult(fail(ENOSPC)));
    EXPECT_EQ(run(part.read({size - 1, 2}, IoBuffers(&both, 1))), IoResult(fail(EINVAL)));
    EXPECT_EQ(run(part.read({size, 1}, IoBuffers(&one, 1))), IoResult(fail(EINVAL)));
    EXPECT_EQ(state_.bytes.size(), 4096u);
  }
}

TEST_F(RawDriverTest, APartForbidsResizingItsChild) {
  auto whole = open({});
  auto part = open({.offset = 512});
  Permissions own{.used = Permission::kWrite};
  EXPECT_EQ((*whole)->child_permissions(*(*whole)->children()[0], own, false), own);
  Permissions needed = (*part)->child_permissions(*(*part)->children()[0], own, false);
  EXPECT_EQ(needed.used, own.used);
  EXPECT_FALSE(needed.shared.has(Permission::kResize));
}

TEST_F(RawDriverTest, APartOfFixedSizeKeepsItsSize) {
  auto driver = open({.size_bytes = 512});
  ASSERT_TRUE(driver);
  EXPECT_EQ(run((*driver)->resize(1024)).error().message(), "Cannot resize fixed-size raw disks");
}

}  // namespace
}  // namespace blockexport::drivers
