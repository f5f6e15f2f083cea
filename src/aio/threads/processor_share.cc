#include "aio/threads/processor_share.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

// Bytes that are read of a file of the kernel; those read here are much shorter.
constexpr std::size_t kTextBytes = 4096;
constexpr std::string_view kCgroupRoot = "/sys/fs/cgroup";

// The text of a small file; empty when it cannot be read.
std::string text_of(const std::string& path) {
  OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::array<char, kTextBytes> text;
  const ssize_t bytes = ::read(file.get(), text.data(), text.size());
  return bytes > 0 ? std::string(text.data(), static_cast<std::size_t>(bytes)) : std::string();
}

// The path of this process's cgroup below the root, without a slash at its end; nothing without a cgroup of version 2.
std::optional<std::string> own_cgroup() {
  const std::string text = text_of("/proc/self/cgroup");
  constexpr std::string_view kVersion2 = "0::";
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (line.starts_with(kVersion2)) {
      line.remove_prefix(kVersion2.size());
      return std::string(line.substr(0, line.find_last_not_of('/') + 1));
    }
    begin = end + 1;
  }
  return std::nullopt;
}

}  // namespace

std::uint32_t usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // It fails when there are more processors than the set holds, which is more than any limit of ours.
  if (sched_getaffinity(0, sizeof set, &set) != 0) return CPU_SETSIZE;
  return std::max(1u, static_cast<std::uint32_t>(CPU_COUNT(&set)));
}

std::optional<double> quota_of(std::string_view cpu_max) {
  std::uint64_t quota_us = 0;
  std::uint64_t period_us = 0;
  const char* const end = cpu_max.data() + cpu_max.size();
  const auto [quota_end, quota_error] = std::from_chars(cpu_max.data(), end, quota_us);
  if (quota_error != std::errc() || quota_end == end || *quota_end != ' ') return std::nullopt;
  const auto [period_end, period_error] = std::from_chars(quota_end + 1, end, period_us);
  if (period_error != std::errc() || period_us == 0) return std::nullopt;
  return static_cast<double>(quota_us) / static_cast<double>(period_us);
}

bool has_processor_to_poll() {
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2) return false;
  std::optional<std::string> group = own_cgroup();
  if (!group) return true;
  for (std::string path = *group;; path.resize(path.rfind('/'))) {
    const std::optional<double> quota = quota_of(text_of(std::string(kCgroupRoot) + path + "/cpu.max"));
    if (quota && *quota < 1) return false;
    if (path.rfind('/') == std::string::npos) return true;
  }
}

}  // namespace blockexport::aio
