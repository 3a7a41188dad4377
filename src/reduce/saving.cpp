// The form of a reduction that keeps what its derivatives need.
#include "reduce/derivation.hpp"

namespace logsum {

Reduction Reduction::saving() const {
  std::vector<reduce::Target> targets = reduce::SavingTargets(*body_);
  if (targets.size() == body_->targets.size()) return *this;
  Body body = *body_;
  for (std::size_t k = body_->targets.size(); k < targets.size(); ++k) {
    const reduce::Group& group = body.groups[static_cast<std::size_t>(targets[k].group)];
    ReductionOutput output = reduce::Describe(group, targets[k].result);
    output.saved = true;
    body.outputs.push_back(output);
  }
  body.targets = std::move(targets);
  return Reduction(std::make_shared<const Body>(std::move(body)));
}

}  // namespace logsum
