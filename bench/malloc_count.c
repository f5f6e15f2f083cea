// malloc_count: counts the allocations of a program it is preloaded into, in a file that another process reads.
//
// LD_PRELOAD=libmalloc_count.so MALLOC_COUNT_FILE=FILE program: the existing FILE of at least 16 bytes is mapped and holds
// two native 64-bit counters: calls that allocate, and calls that free. The program is otherwise unchanged.
// Thread: any; the counters are atomic. Calls made before the file is mapped are not counted.
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// The C library's own entry points: calling them needs no look-up that would itself allocate.
extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* old, size_t size);
extern void* __libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void* old);

struct Counters {
  _Atomic unsigned long long allocations;
  _Atomic unsigned long long frees;
};

static struct Counters before_mapping;
static struct Counters* counters = &before_mapping;

__attribute__((constructor)) static void map_counters(void) {
  const char* path = getenv("MALLOC_COUNT_FILE");
  int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    return;
  }
  void* shared = mmap(NULL, sizeof(struct Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (shared != MAP_FAILED) {
    counters = shared;
  }
}

static void count_allocation(void) { atomic_fetch_add_explicit(&counters->allocations, 1, memory_order_relaxed); }

void* malloc(size_t size) {
  count_allocation();
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  count_allocation();
  return __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) {
  count_allocation();
  return __libc_realloc(old, size);
}

void* memalign(size_t alignment, size_t size) {
  count_allocation();
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  count_allocation();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** out, size_t alignment, size_t size) {
  count_allocation();
  void* block = __libc_memalign(alignment, size);
  if (block == NULL) {
    return ENOMEM;
  }
  *out = block;
  return 0;
}

void free(void* old) {
  if (old != NULL) {
    atomic_fetch_add_explicit(&counters->frees, 1, memory_order_relaxed);
  }
  __libc_free(old);
}
