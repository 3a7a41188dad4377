// The two semirings that products and scans are computed in.
#pragma once

namespace logsum {

// Both multiply by adding logarithms. log adds by log(e^x + e^y), whose gradient is the
// distribution over the terms; max by the maximum, whose gradient goes to the first maximal term.
enum class Semiring { log, max };

}  // namespace logsum
