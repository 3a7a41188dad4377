// The one place that says which of Highway's targets this library compiles for.
//
// Include it before <hwy/foreach_target.h> in every kernel source. On x86 only three targets
// matter: SSE4 is the baseline, AVX2 and AVX-512 (Highway's AVX3) are where the users are; every
// further target would cost compile time and code size and gain nothing for our kernels.
//
// The bits are written as numbers because Highway 1.0.3 and later releases do not define the same
// names (SSE2, AVX3_ZEN4, AVX3_SPR and AVX10 came later), while their bit positions are stable.
#pragma once

#if defined(HWY_HIGHEST_TARGET_BIT_X86)
#error "include core/highway.hpp before any Highway header"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#if defined(LOGSUM_X86_TARGET)  // by the option LOGSUM_ONLY_TARGET: one of the three
#define LOGSUM_X86_TARGETS (1LL << LOGSUM_X86_TARGET)
#define HWY_BASELINE_TARGETS LOGSUM_X86_TARGETS
#else
#define LOGSUM_X86_TARGETS ((1LL << 8) | (1LL << 9) | (1LL << 11))  // AVX3, AVX2, SSE4
#define HWY_BASELINE_TARGETS (1LL << 11)  // SSE4, by function attributes: no compiler flag needed
#endif
#define HWY_DISABLED_TARGETS (0x7FFFLL & ~LOGSUM_X86_TARGETS)
#elif defined(__aarch64__)
// NEON only: our kernels keep vectors in small structs, which SVE's sizeless types do not allow.
#define HWY_DISABLED_TARGETS 0x0FFF8000LL  // bits 15 to 27
#endif
