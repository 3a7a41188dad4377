// Everything: include this, or only the headers you use.
#pragma once
#include "logsum/attention.hpp"  // IWYU pragma: export
#include "logsum/config.hpp"     // IWYU pragma: export
#include "logsum/ctc.hpp"        // IWYU pragma: export
#include "logsum/logsumexp.hpp"  // IWYU pragma: export
#include "logsum/matmul.hpp"     // IWYU pragma: export
#include "logsum/reduce.hpp"     // IWYU pragma: export
#include "logsum/scan.hpp"       // IWYU pragma: export
#include "logsum/semiring.hpp"   // IWYU pragma: export
#include "logsum/state.hpp"      // IWYU pragma: export
#include "logsum/tensor.hpp"     // IWYU pragma: export
#include "logsum/version.hpp"    // IWYU pragma: export
