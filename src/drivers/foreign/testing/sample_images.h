// Small valid images of each foreign format, for tests and as the begin of mutations.
//
// Pure functions; any thread. Each disk has three blocks: the first has data, the second is not allocated, and the last
// has data; the bytes of data are those of sample_disk_byte().
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "block/bitmap_store/crc32c.h"
#include "drivers/foreign/testing/image_bytes.h"

namespace blockexport::drivers::foreign {

inline std::byte sample_disk_byte(std::uint64_t offset) {
  return std::byte(1 + offset / 512 % 251);
}

// The bytes of the disk from `offset` on.
inline std::vector<std::byte> sample_data(std::uint64_t offset, std::size_t length) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = sample_disk_byte(offset + i);
  return bytes;
}

inline constexpr std::uint64_t kSampleVdiDiskBytes = (3u << 20) - 512;

inline ImageBytes sample_vdi() {
  constexpr std::size_t kBlock = 1u << 20;
  ImageBytes image(1024);
  image.text(0, "<<< QEMU VM Virtual Disk Image >>>\n").le32(0x40, 0xbeda107f).le32(0x44, 0x00010001).le32(0x48, 0x180);
  image.le32(0x4c, 1).le32(0x154, 512).le32(0x158, 1024).le32(0x168, 512).le64(0x170, kSampleVdiDiskBytes);
  image.le32(0x178, kBlock).le32(0x180, 3).le32(0x184, 2);
  image.le32(512, 1).le32(516, 0xffffffff).le32(520, 0);
  image.copy(1024 + kBlock, sample_data(0, kBlock)).copy(1024, sample_data(2 * kBlock, kBlock));
  return image;
}

inline constexpr std::uint64_t kSampleVpcDiskBytes = 3 * 65536 - 512;

// "Hard Disk Footer Format": the complement of the sum of all other bytes.
inline void set_vpc_checksum(ImageBytes& image, std::size_t offset) {
  image.be32(offset + 64, 0);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += static_cast<std::uint8_t>(image.bytes()[offset + i]);
  image.be32(offset + 64, ~sum);
}

inline ImageBytes vpc_footer(std::uint32_t type, std::uint64_t data_offset) {
  ImageBytes footer(512);
  footer.text(0, "conectix").be32(8, 2).be32(12, 0x00010000).be64(16, data_offset).text(28, "qem2");
  footer.text(36, "Wi2k").be64(40, kSampleVpcDiskBytes).be64(48, kSampleVpcDiskBytes).be32(60, type);
  set_vpc_checksum(footer, 0);
  return footer;
}

inline ImageBytes sample_vpc() {
  constexpr std::size_t kBlock = 65536;
  constexpr std::size_t kSlot = kBlock + 512;  // with the sector bitmap
  ImageBytes image(2048);
  image.copy(0, vpc_footer(3, 512).span());
  image.text(512, "cxsparse").be64(512 + 8, UINT64_MAX).be64(512 + 16, 1536).be32(512 + 24, 0x00010000);
  image.be32(512 + 28, 3).be32(512 + 32, kBlock);
  image.be32(1536, (2048 + kSlot) / 512).be32(1540, 0xffffffff).be32(1544, 2048 / 512);
  image.fill(2048, 512, std::byte{0xff}).copy(2048 + 512, sample_data(2 * kBlock, kBlock));
  image.fill(2048 + kSlot, 512, std::byte{0xff}).copy(2048 + kSlot + 512, sample_data(0, kBlock));
  image.copy(2048 + 2 * kSlot, vpc_footer(3, 512).span());
  return image;
}

inline constexpr std::uint64_t kSampleVmdkDiskBytes = 3 * 65536 - 512;

// A monolithic sparse image: descriptor, grain directory, one grain table.
inline ImageBytes sample_vmdk() {
  constexpr std::size_t kGrain = 65536;
  ImageBytes image(kGrain);
  image.text(0, "KDMV").le32(4, 1).le32(8, 3).le64(12, kSampleVmdkDiskBytes / 512).le64(20, 128).le64(28, 1);
  image.le64(36, 20).le32(44, 512).le64(48, 21).le64(56, 26).le64(64, 128);
  image.text(512,
             "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
             "createType=\"monolithicSparse\"\nRW 383 SPARSE \"x.vmdk\"\n");
  for (const std::size_t directory : {21 * 512, 26 * 512}) image.le32(directory, 32);
  image.le32(32 * 512, 256).le32(32 * 512 + 4, 0).le32(32 * 512 + 8, 128);
  image.copy(2 * kGrain, sample_data(0, kGrain)).copy(kGrain, sample_data(2 * kGrain, kGrain));
  return image;
}

inline constexpr std::uint64_t kSampleParallelsDiskBytes = 3 * 65536 - 512;

inline ImageBytes sample_parallels() {
  constexpr std::size_t kCluster = 65536;
  ImageBytes image(kCluster);
  image.text(0, "WithouFreSpacExt").le32(16, 2).le32(20, 16).le32(24, 80).le32(28, 128).le32(32, 3);
  image.le64(36, kSampleParallelsDiskBytes / 512).le32(48, 128);
  image.le32(64, 2).le32(68, 0).le32(72, 1);
  image.copy(2 * kCluster, sample_data(0, kCluster)).copy(kCluster, sample_data(2 * kCluster, kCluster));
  return image;
}

// Sections of [MS-VHDX]: the checksum of a structure counts its own field as zeros.
inline void set_vhdx_checksum(ImageBytes& image, std::size_t offset, std::size_t length) {
  image.le32(offset + 4, 0);
  image.le32(offset + 4, block::crc32c(image.span().subspan(offset, length)));
}

inline constexpr std::uint64_t kSampleVhdxDiskBytes = (3u << 20) - 512;

inline ImageBytes sample_vhdx() {
  constexpr std::size_t kMiB = 1u << 20;
  ImageBytes image(4 * kMiB);
  image.text(0, "vhdxfile");
  for (const std::size_t at : {64u << 10, 128u << 10}) {
    image.text(at, "head").le64(at + 8, at).le16(at + 66, 1).le32(at + 68, kMiB).le64(at + 72, kMiB);
    set_vhdx_checksum(image, at, 4096);
  }
  constexpr std::size_t kRegions = 192u << 10;
  image.text(kRegions, "regi").le32(kRegions + 8, 2);
  image.le64(kRegions + 16, 0x4200f6232dc27766).le64(kRegions + 24, 0x084afd9b5e11649d);
  image.le64(kRegions + 32, 2 * kMiB).le32(kRegions + 40, kMiB).le32(kRegions + 44, 1);
  image.le64(kRegions + 48, 0x4b9a47908b7ca206).le64(kRegions + 56, 0x6e880f055f57feb8);
  image.le64(kRegions + 64, 3 * kMiB).le32(kRegions + 72, kMiB).le32(kRegions + 76, 1);
  set_vhdx_checksum(image, kRegions, 64u << 10);
  constexpr std::size_t kMetadata = 3 * kMiB;
  image.text(kMetadata, "metadata").le16(kMetadata + 10, 5);
  const std::uint64_t ids[][2] = {{0x4d43fa36caa16737, 0x6be744aaf033b6b3},
                                  {0x4876cd1b2fa54224, 0xb8f43bd8be5d11b2},
                                  {0x4523b2e6beca12ab, 0x46c700e009c3ef93},
                                  {0x4709a96f8141bf1d, 0x5fabfaa833f247ba},
                                  {0x4471445dcda348c7, 0x56c5515288e9c99c}};
  for (std::size_t i = 0; i < 5; ++i) {
    const std::size_t at = kMetadata + 32 + 32 * i;
    image.le64(at, ids[i][0]).le64(at + 8, ids[i][1]).le32(at + 16, static_cast<std::uint32_t>((64u << 10) + 16 * i));
    image.le32(at + 20, 8).le32(at + 24, 4);
  }
  constexpr std::size_t kItems = kMetadata + (64u << 10);
  image.le32(kItems, kMiB).le64(kItems + 16, kSampleVhdxDiskBytes).le32(kItems + 48, 512).le32(kItems + 64, 512);
  image.le64(2 * kMiB, (5 * kMiB) | 6).le64(2 * kMiB + 8, 0).le64(2 * kMiB + 16, (4 * kMiB) | 6);
  image.copy(5 * kMiB, sample_data(0, kMiB)).copy(4 * kMiB, sample_data(2 * kMiB, kMiB));
  return image;
}

}  // namespace blockexport::drivers::foreign
