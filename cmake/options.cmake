option(BLOCKEXPORT_TESTS "Build the unit tests" ON)
option(BLOCKEXPORT_PAM "Ask PAM in authz-pam objects: its library is loaded when one is made" ON)
option(BLOCKEXPORT_SECCOMP "Restrict system calls with --sandbox: this needs libseccomp" ON)
option(BLOCKEXPORT_LIBNBD "Build the commands of the client tool that read from NBD servers: they need libnbd" ON)
option(BLOCKEXPORT_ZSTD "Read qcow2 images that are compressed with zstd: this needs libzstd" ON)
option(BLOCKEXPORT_LIBDEFLATE "Decompress deflate clusters with libdeflate, which is faster than zlib" ON)
option(BLOCKEXPORT_FUZZ "Build the libFuzzer targets" OFF)
set(BLOCKEXPORT_SANITIZE "" CACHE STRING "Sanitizers to build with, as in -fsanitize=")

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # hash_dir=false and base_dir make two checkouts share their objects.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                    -Wimplicit-fallthrough -Wformat=2 -Werror
                    -fno-exceptions -fno-rtti
                    -fstack-protector-strong -fno-strict-overflow -fno-delete-null-pointer-checks)
add_compile_definitions(_GNU_SOURCE)
add_link_options(-fuse-ld=lld -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code)

if(BLOCKEXPORT_SANITIZE)
  add_compile_options(-fsanitize=${BLOCKEXPORT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${BLOCKEXPORT_SANITIZE})
else()
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_compile_options($<$<CONFIG:Release>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>
                      $<$<CONFIG:Release>:-fcf-protection=full>)
endif()
if(BLOCKEXPORT_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
