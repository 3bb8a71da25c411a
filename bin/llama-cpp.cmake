# What bin/setup changes in the build of llama.cpp, read after each project() in it (CMAKE_PROJECT_INCLUDE).

if(PROJECT_NAME STREQUAL "llama.cpp")
    # Chat parsers, an HTTP client and a Jinja of its own, for llama.cpp's programs only: a third of the build.
    set(LLAMA_BUILD_COMMON OFF)
    # libllama reads files and lays out graphs; the arithmetic is ggml's. -O3 takes half as long again to compile.
    string(REPLACE "-O3" "-O1" CMAKE_CXX_FLAGS_RELEASE "${CMAKE_CXX_FLAGS_RELEASE}")
endif()

if(PROJECT_NAME STREQUAL "ggml")
    string(REPLACE "-O1" "-O3" CMAKE_CXX_FLAGS_RELEASE "${CMAKE_CXX_FLAGS_RELEASE}")
    # GCC 12's _tile_loadconfig says that it reads 8 of the 64 bytes; the others are then never written, and the first
    # multiplication in AMX tiles ends the process with "Illegal instruction".
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        set(tiles "${CMAKE_BINARY_DIR}/amx-tiles.h")
        file(WRITE "${tiles}" [[
#if defined(__AMX_TILE__)
#include <immintrin.h>
#define _tile_loadconfig(shape) __asm__ volatile("ldtilecfg\t%0" : : "m"(*(const char(*)[64])(shape)))
#endif
]])
        add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include \"${tiles}\">")
    endif()
endif()
