#include "core/target.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "core/errors.hpp"
#include "core/highway.hpp"
#include "hwy/highway.h"
#include "logsum/config.hpp"

namespace logsum {
namespace {

// What the CPU supports, asked before any set_cpu_target() narrows Highway's answer.
std::int64_t DetectedTargets() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

std::int64_t LowestBit(std::int64_t targets) { return targets & -targets; }

void Choose(std::int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// The bit of a target by name, 0 if it does not run here.
std::int64_t FindTarget(std::string_view name) {
  for (std::int64_t left = DetectedTargets(); left != 0; left &= left - 1) {
    if (name == hwy::TargetName(LowestBit(left))) return LowestBit(left);
  }
  return 0;
}

std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

bool ApplyEnvironment() {
  if (DetectedTargets() == 0) {
    throw std::runtime_error("logsum: this CPU lacks the baseline instruction set " +
                             std::string(hwy::TargetName(HWY_STATIC_TARGET)));
  }
  const char* const forced = std::getenv("LOGSUM_FORCE_TARGET");
  if (forced == nullptr || *forced == '\0') {
    hwy::GetChosenTarget().Update(DetectedTargets());
    return true;
  }
  const std::int64_t target = FindTarget(forced);
  if (target == 0) {
    throw std::runtime_error("logsum: LOGSUM_FORCE_TARGET: expected one of " +
                             Listed(AvailableTargets()) + ", got " + forced);
  }
  Choose(target);
  return true;
}

}  // namespace

void EnsureTarget() {
  // A static initialised by a call that throws is tried again at the next call.
  [[maybe_unused]] static const bool applied = ApplyEnvironment();
}

std::string CurrentTarget() {
  EnsureTarget();
  return hwy::TargetName(LowestBit(hwy::SupportedTargets() & HWY_TARGETS));
}

std::vector<std::string> AvailableTargets() {
  std::vector<std::string> names;
  for (std::int64_t left = DetectedTargets(); left != 0; left &= left - 1) {
    names.emplace_back(hwy::TargetName(LowestBit(left)));
  }
  return names;
}

void set_cpu_target(std::string_view name) {
  EnsureTarget();
  const std::int64_t target = name.empty() ? DetectedTargets() : FindTarget(name);
  if (target == 0) {
    ThrowInvalid("set_cpu_target", "name", "\"\" or one of " + Listed(AvailableTargets()), name);
  }
  Choose(target);
}

}  // namespace logsum
