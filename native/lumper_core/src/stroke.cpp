#include <algorithm>
#include <cmath>

#include "lumper_core/plan.hpp"

namespace lumper_core {
namespace {

/// Sine up to which a side counts as lying along the way out, as in the contacts (contacts.cpp).
constexpr double kAlong = 0.06;

/// Whether what is pushed along `out` has a wall or others, up to a wall, right behind it.
bool backed(const ContactGraph& graph, int32_t slot, const Vec3& out, const std::vector<int32_t>& load) {
  std::vector<int32_t> row{slot};
  for (size_t k = 0; k < row.size(); ++k) {
    if (row[k] < 0) {
      return true;
    }
    for (const int32_t index : graph.patches_of(row[k])) {
      const Patch& patch = graph.patches()[static_cast<size_t>(index)];
      const bool from_here = patch.a == row[k];
      const int32_t next = from_here ? patch.b : patch.a;
      const Vec3 away = from_here ? patch.normal : Vec3(-patch.normal);
      if (!patch.support && away.dot(out) > 0.9 && std::find(row.begin(), row.end(), next) == row.end() &&
          std::find(load.begin(), load.end(), next) == load.end()) {
        row.push_back(next);
      }
    }
  }
  return false;
}

/// A load that is drawn at an angle to its side faces is pushed into what stands at one of them, by its length times
/// the angle's sine over the stroke. What stands free is moved aside by that; what cannot give way jams it.
void jam(const ContactGraph& graph, const std::vector<int32_t>& load, const Vec3& way, double stroke_m,
         const PlanParameters& parameters, StrokePrediction* prediction) {
  for (const int32_t slot : load) {
    for (const int32_t index : graph.patches_of(slot)) {
      const Patch& patch = graph.patches()[static_cast<size_t>(index)];
      const int32_t other = patch.a == slot ? patch.b : patch.a;
      const Vec3 out = patch.a == slot ? patch.normal : Vec3(-patch.normal);
      const double into = out.dot(way);
      if (patch.support || std::abs(out.x()) > 0.5 || into < kAlong ||
          std::find(load.begin(), load.end(), other) != load.end()) {
        continue;
      }
      const int count = patch.count > 0 ? patch.count : patch.seen_count;
      const auto& points = patch.count > 0 ? patch.points : patch.seen;
      double first = 1e9;
      double last = -1e9;
      for (int k = 0; k < count; ++k) {
        first = std::min(first, points[static_cast<size_t>(k)].dot(way));
        last = std::max(last, points[static_cast<size_t>(k)].dot(way));
      }
      const double pushed_m = into * std::min(stroke_m, last - first) - std::max(0.0, patch.gap_m);
      const double most_m =
          backed(graph, other, out, load) ? graph.parameters().side_tolerance_m : parameters.stroke_limit_m;
      if (pushed_m > most_m) {
        prediction->jams = true;
        prediction->displacement_m = std::max(prediction->displacement_m, pushed_m);
        if (other >= 0 &&
            std::find(prediction->falls.begin(), prediction->falls.end(), other) == prediction->falls.end()) {
          prediction->falls.push_back(other);
        }
      }
    }
  }
}

}  // namespace

StrokePrediction predict_stroke(const ContactGraph& graph, Statics& statics, const Grasp& grasp, const Removal& gone,
                                const PlanParameters& parameters) {
  StrokePrediction prediction;
  const std::vector<int32_t> removed(grasp.slots.begin(), grasp.slots.begin() + grasp.count);
  const double stroke_m = grasp.extract.norm();
  const Vec3 way = stroke_m > 0.0 ? Vec3(grasp.extract / stroke_m) : Vec3(-Vec3::UnitX());
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
    // The load slides on what it stands on and under what rests on it. The hold keeps its height, so a
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
        load.force = friction * normal * way + Vec3(0.0, 0.0, above ? normal : -normal);
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
  if (prediction.safe && grasp.stroke != Stroke::kTopPick) {
    jam(graph, removed, way, stroke_m, parameters, &prediction);
    prediction.safe = !prediction.jams;
  }
  if (!prediction.safe && !prediction.jams) {
    prediction.displacement_m = std::max(parameters.stroke_limit_m, 0.5 * prediction.acceleration * 0.25);
  }
  return prediction;
}

}  // namespace lumper_core
