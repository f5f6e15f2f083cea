#include "aio/task/frame_cache.h"

#include <array>
#include <cstdlib>

namespace blockexport::aio {
namespace {

constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClasses = 64;  // frames of up to 4 KiB
constexpr std::size_t kKeptPerClassMax = 128;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BLOCKEXPORT_NO_FRAME_CACHE
#endif
#endif

#ifdef BLOCKEXPORT_NO_FRAME_CACHE
constexpr bool kCaching = false;
#else
constexpr bool kCaching = true;
#endif

// A free frame holds the pointer to the next one.
struct FreeFrame {
  FreeFrame* next;
};

class FrameCache {
 public:
  ~FrameCache() {
    for (Class& one : classes_) {
      while (one.first != nullptr) std::free(pop(one));
    }
  }

  void* take(std::size_t index) { return classes_[index].first == nullptr ? nullptr : pop(classes_[index]); }

  bool keep(void* frame, std::size_t index) {
    Class& of_size = classes_[index];
    if (of_size.count >= kKeptPerClassMax) return false;
    auto* free_frame = static_cast<FreeFrame*>(frame);
    free_frame->next = of_size.first;
    of_size.first = free_frame;
    ++of_size.count;
    return true;
  }

 private:
  struct Class {
    FreeFrame* first = nullptr;
    std::size_t count = 0;
  };

  static void* pop(Class& of_size) {
    FreeFrame* frame = of_size.first;
    of_size.first = frame->next;
    --of_size.count;
    return frame;
  }

  std::array<Class, kClasses> classes_;
};

thread_local FrameCache cache;

std::size_t class_of(std::size_t bytes) {
  return (bytes - 1) / kClassBytes;
}

}  // namespace

void* take_frame(std::size_t bytes) {
  std::size_t index = class_of(bytes);
  void* frame = kCaching && index < kClasses ? cache.take(index) : nullptr;
  if (frame == nullptr) frame = std::malloc(kCaching ? (index + 1) * kClassBytes : bytes);
  if (frame == nullptr) std::abort();
  return frame;
}

void give_frame_back(void* frame, std::size_t bytes) {
  std::size_t index = class_of(bytes);
  if (kCaching && index < kClasses && cache.keep(frame, index)) return;
  std::free(frame);
}

}  // namespace blockexport::aio
