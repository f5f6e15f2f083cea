#include <gtest/gtest.h>

#include <array>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace blockexport {
namespace {

TEST(ByteIo, WhatIsWrittenIsRead) {
  std::array<std::byte, 18> buffer;
  ByteWriter writer(buffer);
  writer.u16(0x0102);
  writer.u32(0x03040506);
  writer.u64(0x0708090a0b0c0d0e);
  writer.text("abcd");
  EXPECT_EQ(writer.written().size(), buffer.size());
  EXPECT_EQ(buffer[0], std::byte{1});

  ByteReader reader(buffer);
  EXPECT_EQ(reader.u16(), 0x0102);
  EXPECT_EQ(reader.u32(), 0x03040506u);
  EXPECT_EQ(reader.u64(), 0x0708090a0b0c0d0eu);
  EXPECT_EQ(reader.text(4), "abcd");
  EXPECT_FALSE(reader.failed());
}

TEST(ByteIo, ReadPastTheEndFailsForGood) {
  std::array<std::byte, 3> buffer{};
  ByteReader reader(buffer);
  EXPECT_EQ(reader.u32(), 0u);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.u8(), 0u);
  EXPECT_EQ(reader.remaining(), 0u);
}

}  // namespace
}  // namespace blockexport
