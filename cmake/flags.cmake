# The flags of everything that this project compiles; nothing here reaches a user of the library.
#
# Results must not depend on the compiler's mood: a fused multiply-add is written where it is meant
# (-ffp-contract=off keeps the compiler from making others), and no -ffast-math, because NaN, the
# infinities and signed zero all have meanings here. CPU targets need no flag: Highway selects them
# by function attributes.
add_library(logsum_flags INTERFACE)
target_compile_options(logsum_flags INTERFACE
  -Wall -Wextra -Wpedantic $<$<BOOL:${LOGSUM_WERROR}>:-Werror>
  -fno-math-errno -ffp-contract=off)

if(LOGSUM_ONLY_TARGET)
  # Highway's bits of the targets that core/highway.hpp selects.
  set(bit_SSE4 11)
  set(bit_AVX2 9)
  set(bit_AVX3 8)
  if(NOT DEFINED bit_${LOGSUM_ONLY_TARGET})
    message(FATAL_ERROR "LOGSUM_ONLY_TARGET is SSE4, AVX2 or AVX3, not '${LOGSUM_ONLY_TARGET}'")
  endif()
  target_compile_definitions(logsum_flags INTERFACE LOGSUM_X86_TARGET=${bit_${LOGSUM_ONLY_TARGET}})
endif()

if(LOGSUM_SANITIZE)
  set(sanitize -fsanitize=${LOGSUM_SANITIZE} -fno-omit-frame-pointer)
  if(LOGSUM_SANITIZE MATCHES "undefined")
    # A report that does not stop the program is a report that nobody reads.
    list(APPEND sanitize -fsanitize=float-cast-overflow -fno-sanitize-recover=all)
  endif()
  target_compile_options(logsum_flags INTERFACE ${sanitize})
  target_link_options(logsum_flags INTERFACE ${sanitize})
endif()
