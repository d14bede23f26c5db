#include <algorithm>
#include <cmath>

#include "lumper_core/plan.hpp"

namespace lumper_core {

StrokePrediction predict_stroke(const ContactGraph& graph, Statics& statics, const Grasp& grasp, const Removal& gone,
                                const PlanParameters& parameters) {
  StrokePrediction prediction;
  const std::vector<int32_t> removed(grasp.slots.begin(), grasp.slots.begin() + grasp.count);
  const auto worsen = [&](const Removal& removal) {
    prediction.acceleration = std::max(prediction.acceleration, removal.acceleration);
    if (removal.verdict == Verdict::kUndecided) {
      prediction.verdict = Verdict::kUndecided;
    } else if (removal.verdict == Verdict::kCollapses && prediction.verdict == Verdict::kStable) {
      prediction.verdict = Verdict::kCollapses;
    }
    for (const int32_t slot : removal.falls) {
      if (std::find(prediction.falls.begin(), prediction.falls.end(), slot) == prediction.falls.end()) {
        prediction.falls.push_back(slot);
      }
    }
  };
  prediction.verdict = Verdict::kStable;
  prediction.certificate = gone.certificate;
  worsen(gone);
  prediction.speed_limit_mps = grasp.speed_limit;

  const bool falls =
      gone.verdict == Verdict::kUndecided ||
      (gone.verdict == Verdict::kCollapses && gone.acceleration >= graph.parameters().acceleration_threshold_mps2);
  // A tilted load keeps only its rear edge down, a lifted one nothing: neither drags what it stood on.
  const bool drags = grasp.stroke == Stroke::kFrontPull || grasp.stroke == Stroke::kSlowPull;
  if (drags && !falls) {
    // The load slides along -x on what it stands on and under what rests on it. The hold keeps its height, so a
    // neighbour that starts to tip wedges itself under the load until the cups give way: the press grows to what they
    // hold.
    std::vector<Load> loads;
    for (const int32_t slot : removed) {
      for (const int32_t index : graph.patches_of(slot)) {
        const Patch& patch = graph.patches()[static_cast<size_t>(index)];
        const int32_t other = patch.a == slot ? patch.b : patch.a;
        if (!patch.support || other < 0 || std::find(removed.begin(), removed.end(), other) != removed.end()) {
          continue;
        }
        const bool above = patch.a == slot;
        const double resting = above ? statics.load_on(other) : statics.load_between(other, slot);
        const double normal = above ? resting : resting + parameters.hold_press_n;
        const double friction = std::max(graph.box(slot).friction, graph.box(other).friction);
        Load load;
        load.slot = other;
        load.force = Vec3(-friction * normal, 0.0, above ? normal : -normal);
        load.torque = (patch.middle() - graph.box(other).position).cross(load.force);
        loads.push_back(load);
      }
    }
    if (!loads.empty()) {
      worsen(statics.analyse(removed, loads));
    }
  }
  prediction.safe = prediction.verdict == Verdict::kStable ||
                    (prediction.verdict == Verdict::kCollapses &&
                     prediction.acceleration < graph.parameters().acceleration_threshold_mps2);
  if (!prediction.safe) {
    prediction.displacement_m = std::max(parameters.stroke_limit_m, 0.5 * prediction.acceleration * 0.25);
  }
  return prediction;
}

}  // namespace lumper_core
