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

// True if the list of controllers, which commas separate, has this one.
bool has_controller(std::string_view list, std::string_view controller) {
  if (controller.empty()) return list.empty();
  for (;;) {
    const std::size_t end = list.find(',');
    if (list.substr(0, end) == controller) return true;
    if (end == std::string_view::npos) return false;
    list.remove_prefix(end + 1);
  }
}

// The quota of the cgroup whose files are in `folder`.
std::optional<double> quota_in(const std::string& folder, bool is_version_2) {
  if (is_version_2) return quota_of(text_of(folder + "/cpu.max"));
  return quota_of(text_of(folder + "/cpu.cfs_quota_us"), text_of(folder + "/cpu.cfs_period_us"));
}

// True if the cgroup of the process, or one above it, has a quota of less than a processor.
bool has_small_quota(std::string_view own_groups, std::string_view controller) {
  std::optional<std::string> path = cgroup_of(own_groups, controller);
  if (!path) return false;
  std::string root(kCgroupRoot);
  if (!controller.empty()) root.append("/").append(controller);
  for (;; path->resize(path->rfind('/'))) {
    const std::optional<double> quota = quota_in(root + *path, controller.empty());
    if (quota && *quota < 1) return true;
    if (path->rfind('/') == std::string::npos) return false;
  }
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

std::optional<double> quota_of(std::string_view quota_us, std::string_view period_us) {
  const std::size_t end = quota_us.find_last_not_of('\n');
  if (end == std::string_view::npos) return std::nullopt;
  return quota_of(std::string(quota_us.substr(0, end + 1)) + " " + std::string(period_us));
}

std::optional<std::string> cgroup_of(std::string_view text, std::string_view controller) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    // NUMBER:CONTROLLERS:PATH
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    if (!has_controller(line.substr(first + 1, second - first - 1), controller)) continue;
    const std::string_view path = line.substr(second + 1);
    return std::string(path.substr(0, path.find_last_not_of('/') + 1));
  }
  return std::nullopt;
}

bool has_processor_to_poll() {
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2) return false;
  const std::string own_groups = text_of("/proc/self/cgroup");
  return !has_small_quota(own_groups, "") && !has_small_quota(own_groups, "cpu");
}

}  // namespace blockexport::aio
