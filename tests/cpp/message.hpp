// What a call complains about.
#pragma once
#include <stdexcept>
#include <string>

namespace logsum::testing {

template <class Call>
std::string MessageOf(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace logsum::testing
