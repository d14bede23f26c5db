#include <algorithm>
#include <cmath>

#include "lumper_core/statics.hpp"

/// Caution against the fact that the pile stands: what is not sure to bear anything is believed in again, step by step,
/// where nothing else can explain that a box does not fall.
namespace lumper_core {
namespace {

// So near under a box, and under so much of it, another one may be what carries it.
constexpr double kUnderneath_m = 0.15;
constexpr double kBeside_m = 0.02;

}  // namespace

bool ContactGraph::carried(int32_t slot) const {
  const Vec3& centre = boxes_[static_cast<size_t>(slot)].position;
  std::vector<double> bearings;
  for (const int32_t index : adjacent_[static_cast<size_t>(slot)]) {
    const Patch& patch = patches_[static_cast<size_t>(index)];
    for (int k = 0; k < patch.count && patch.support && patch.b == slot; ++k) {
      const Vec3 arm = patch.points[static_cast<size_t>(k)] - centre;
      bearings.push_back(std::atan2(arm.y(), arm.x()));
    }
  }
  if (bearings.size() < 3) {
    return false;
  }
  // The centre lies in the hull of the points unless all of them are seen within half a turn.
  std::sort(bearings.begin(), bearings.end());
  double gap = bearings.front() + 2.0 * M_PI - bearings.back();
  for (size_t i = 1; i < bearings.size(); ++i) {
    gap = std::max(gap, bearings[i] - bearings[i - 1]);
  }
  return gap < M_PI;
}

bool ContactGraph::widen(int32_t slot) {
  struct Step {
    bool doubtful;
    Trust from, to;
  };
  // What is hardly there at all comes last: noise makes such contacts up, and they would hold what nothing holds.
  constexpr Step kSteps[] = {
      {false, Trust::kSure, Trust::kSeen}, {false, Trust::kSeen, Trust::kReach}, {true, Trust::kSure, Trust::kSeen}};
  for (const Step& step : kSteps) {
    bool widened = false;
    for (const int32_t index : adjacent_[static_cast<size_t>(slot)]) {
      Patch& patch = patches_[static_cast<size_t>(index)];
      if (patch.support && patch.b == slot && patch.seen_count > 0 && patch.doubtful == step.doubtful &&
          patch.trust == step.from) {
        believe(box(patch.a), box(slot), parameters_, step.to, &patch);
        widened = true;
      }
    }
    if (widened) {
      ++version_;
      return true;
    }
  }
  return false;
}

bool ContactGraph::bear(int32_t slot) {
  const auto s = static_cast<size_t>(slot);
  for (const int32_t index : adjacent_[s]) {
    const Patch& patch = patches_[static_cast<size_t>(index)];
    if (patch.support && patch.b == slot) {
      return false;
    }
  }
  // What stands just below may be what carries it after all, read a little too low: then its removal must count.
  const Vec3 under(low_[s].x(), low_[s].y(), low_[s].z() - kUnderneath_m);
  query(under, Vec3(high_[s].x(), high_[s].y(), low_[s].z()), 0.0, &scratch_);
  for (const int32_t other : scratch_) {
    const auto o = static_cast<size_t>(other);
    const Vec3 shared = high_[s].cwiseMin(high_[o]) - low_[s].cwiseMax(low_[o]);
    if (other != slot && high_[o].z() < low_[s].z() + kUnderneath_m && shared.x() > kBeside_m &&
        shared.y() > kBeside_m) {
      return false;
    }
  }
  const Patch patch = plane_contact(boxes_[s], slot, kUnseen, Vec3::UnitZ(), low_[s].z(), parameters_);
  if (patch.count == 0) {
    return false;
  }
  store(patch);
  ++version_;
  return true;
}

void ContactGraph::narrow() {
  for (size_t p = 0; p < patches_.size(); ++p) {
    if (patches_[p].a == kUnseen) {
      discard(static_cast<int32_t>(p));
      ++version_;
    }
  }
  for (Patch& patch : patches_) {
    if (patch.trust != Trust::kSure) {
      believe(box(patch.a), box(patch.b), parameters_, Trust::kSure, &patch);
      ++version_;
    }
  }
}

void settle(ContactGraph* graph, Statics* statics) {
  constexpr int kMaxRounds = 6;
  constexpr double kRelief_n = 0.1;
  graph->narrow();
  // A load may lie on a box now that holds it where the cautious contacts would not, and be gone later.
  for (size_t s = 0; s < graph->slots(); ++s) {
    const auto slot = static_cast<int32_t>(s);
    if (graph->alive(slot) && !graph->carried(slot)) {
      graph->bear(slot);
      while (!graph->carried(slot) && graph->widen(slot)) {
      }
    }
  }
  for (int round = 0; round < kMaxRounds; ++round) {
    statics->update();
    bool widened = false;
    for (size_t s = 0; s < graph->slots(); ++s) {
      if (graph->alive(static_cast<int32_t>(s)) && statics->relief()[s].cwiseAbs().maxCoeff() > kRelief_n) {
        widened = graph->widen(static_cast<int32_t>(s)) || widened;
      }
    }
    if (!widened) {
      return;
    }
  }
  statics->update();
}

}  // namespace lumper_core
