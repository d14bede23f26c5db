#include "lumper_core/plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace lumper_core {
namespace {

constexpr double kNoTime = std::numeric_limits<double>::quiet_NaN();

double travel_s(double distance_m, double speed_mps, double acceleration_mps2) {
  const double ramp = speed_mps * speed_mps / acceleration_mps2;
  return distance_m < ramp ? 2.0 * std::sqrt(distance_m / acceleration_mps2)
                           : distance_m / speed_mps + speed_mps / acceleration_mps2;
}

Vec3 to_trailer(const BasePose& base, const Vec3& in_base) {
  const double c = std::cos(base.yaw);
  const double s = std::sin(base.yaw);
  return {base.x + c * in_base.x() - s * in_base.y(), base.y + s * in_base.x() + c * in_base.y(), in_base.z()};
}

std::string names(const std::vector<uint32_t>& ids) {
  std::ostringstream text;
  for (size_t i = 0; i < ids.size() && i < 5; ++i) {
    text << (i == 0 ? "" : ", ") << ids[i];
  }
  if (ids.size() > 5) {
    text << ", ...";
  }
  return text.str();
}

/// Half extents of a box along the trailer's axes.
Vec3 half_extents(const Box& box) { return box.orientation.toRotationMatrix().cwiseAbs() * (0.5 * box.size); }

/// Cartons anywhere above the load's footprint. Seen boxes may stand apart by more than the contact tolerance, so a
/// whole column counts as resting on its foot, whatever the contacts say.
std::vector<uint32_t> above(const ContactGraph& graph, const std::vector<int32_t>& load) {
  constexpr double kOverlap = 0.02;
  std::vector<uint32_t> found;
  for (size_t s = 0; s < graph.slots(); ++s) {
    const auto other = static_cast<int32_t>(s);
    if (!graph.alive(other) || std::find(load.begin(), load.end(), other) != load.end()) {
      continue;
    }
    const Box& high = graph.box(other);
    const Vec3 high_half = half_extents(high);
    for (const int32_t slot : load) {
      const Box& low = graph.box(slot);
      const Vec3 low_half = half_extents(low);
      const Vec3 apart = (high.position - low.position).cwiseAbs();
      if (apart.x() < high_half.x() + low_half.x() - kOverlap && apart.y() < high_half.y() + low_half.y() - kOverlap &&
          high.position.z() - high_half.z() > low.position.z()) {
        found.push_back(high.id);
        break;
      }
    }
  }
  return found;
}

std::vector<uint32_t> first_load(const Plan& plan) {
  if (plan.picks.empty()) {
    return {};
  }
  const Grasp& grasp = plan.picks.front().grasp;
  std::vector<uint32_t> ids(grasp.ids.begin(), grasp.ids.begin() + grasp.count);
  std::sort(ids.begin(), ids.end());
  return ids;
}

int cartons(const Plan& plan) {
  int count = 0;
  for (const Pick& pick : plan.picks) {
    count += pick.grasp.count;
  }
  return count;
}

bool taken(const Plan& plan, uint32_t id) {
  return std::any_of(plan.picks.begin(), plan.picks.end(), [id](const Pick& pick) {
    const auto& ids = pick.grasp.ids;
    return std::find(ids.begin(), ids.begin() + pick.grasp.count, id) != ids.begin() + pick.grasp.count;
  });
}

}  // namespace

/// One judged way to take a load.
struct Planner::Option {
  Grasp grasp;
  StrokePrediction stroke;
  double expected_s = 0.0;
  double risk_s = 0.0;
  double distance_m = 0.0;
  bool reachable = false;
  uint64_t tie = 0;
  double level_s = 0.0;  ///< what digging a pit costs later
  double score() const { return (expected_s + risk_s + level_s) / grasp.count; }
};

Planner::Planner(const Trailer& trailer, const Gripper& gripper, const Arm& arm, const Conveyor& conveyor,
                 const StaticsParameters& statics, const PlanParameters& parameters)
    : trailer_(trailer),
      gripper_(gripper),
      arm_(arm),
      conveyor_(conveyor),
      statics_parameters_(statics),
      parameters_(parameters),
      finder_(gripper, arm, conveyor, parameters),
      graph_(trailer, statics) {}

void Planner::load(const std::vector<Box>& boxes, std::vector<std::string>* warnings) {
  const std::vector<Box> good = checked(boxes, statics_parameters_, warnings);
  graph_.clear();
  for (const Box& box : good) {
    graph_.add(box);
  }
  statics_ = std::make_unique<Statics>(graph_);
}

std::vector<Grasp> Planner::grasps(const std::vector<Box>& boxes) {
  load(boxes, nullptr);
  std::vector<Grasp> found;
  for (size_t s = 0; s < graph_.slots(); ++s) {
    finder_.find(graph_, static_cast<int32_t>(s), {}, &found, nullptr);
  }
  for (size_t s = 0; s < graph_.slots(); ++s) {
    finder_.find_groups(graph_, static_cast<int32_t>(s), {}, &found);
  }
  return found;
}

std::vector<StrokePrediction> Planner::strokes(const std::vector<Box>& boxes, std::vector<Grasp> grasps) {
  load(boxes, nullptr);
  settle(&graph_, statics_.get());
  std::vector<StrokePrediction> predictions;
  for (Grasp& grasp : grasps) {
    std::vector<int32_t> slots;
    for (int k = 0; k < grasp.count; ++k) {
      const uint32_t id = grasp.ids[static_cast<size_t>(k)];
      slots.push_back(graph_.slot_of(id));
      grasp.slots[static_cast<size_t>(k)] = slots.back();
      if (slots.back() < 0) {
        throw InputError(id, predictions.size(), "ids", "box " + std::to_string(id) + " is not in the wall");
      }
    }
    predictions.push_back(predict_stroke(graph_, *statics_, grasp, statics_->analyse(slots), parameters_));
  }
  return predictions;
}

double Planner::drag_s(const Grasp& grasp) const {
  // A top pick drags nothing, but is no way to avoid it: the arm reaches over the pile for it.
  return grasp.stroke == Stroke::kLiftPull || grasp.stroke == Stroke::kTiltPull ? 0.0 : parameters_.drag_cost_s;
}

double Planner::seconds(const Grasp& grasp, const BasePose& base) const {
  const Vec3 shoulder = to_trailer(base, Vec3(arm_.mount_x_m, arm_.mount_y_m, arm_.shoulder_z_m));
  const Vec3 wrist = grasp.position - grasp.orientation * Vec3(0.0, 0.0, arm_.wrist_to_tool_m);
  const double reach = (wrist - shoulder).norm();
  if (reach > arm_.reach_max_m || reach < arm_.reach_min_m) {
    return kNoTime;
  }
  const Vec3 infeed = to_trailer(
      base, Vec3(conveyor_.infeed_x_m, conveyor_.infeed_y_m, conveyor_.infeed_z_m + grasp.place_position.z()));
  const double distance = (grasp.position - infeed).norm();
  return travel_s(distance, arm_.tool_speed_mps, arm_.tool_acceleration_mps2) +
         travel_s(distance, arm_.carry_speed_mps, 0.7 * arm_.tool_acceleration_mps2);
}

Plan Planner::plan(const std::vector<Box>& boxes, const PlanRequest& request) {
  const double start = thread_cpu_s();
  Plan best = sequence(boxes, request, start, {});
  // A first pick after which nothing could be taken any more, though cartons are left that could be reached: does
  // another one lead further?
  std::vector<std::vector<uint32_t>> tried;
  std::vector<int> led_to;
  Plan next;
  for (int k = 0; k < parameters_.lookahead && best.dead_end && thread_cpu_s() - start < request.budget_s; ++k) {
    const Plan& last = k == 0 ? best : next;
    tried.push_back(first_load(last));
    led_to.push_back(cartons(last));
    next = sequence(boxes, request, start, tried);
    if (next.picks.empty()) {
      break;
    }
    if (cartons(next) <= cartons(best)) {
      continue;
    }
    best = next;
    for (size_t t = 0; t < tried.size(); ++t) {
      if (tried[t].size() != 1 || taken(best, tried[t][0])) {
        continue;
      }
      std::ostringstream text;
      text << "takeable, but if it went first nothing could be taken after " << led_to[t] << " cartons";
      best.rejected.push_back({tried[t][0], Reason::kDeadEnd, static_cast<double>(led_to[t]), 0.0, {}, text.str()});
    }
  }
  best.planning_s = thread_cpu_s() - start;
  return best;
}

Plan Planner::sequence(const std::vector<Box>& boxes, const PlanRequest& request, double start,
                       const std::vector<std::vector<uint32_t>>& not_first) {
  Plan plan;
  std::vector<std::string> warnings;
  load(boxes, &warnings);
  settle(&graph_, statics_.get());
  const auto out_of_time = [&] { return thread_cpu_s() - start > request.budget_s; };

  std::map<uint32_t, Rejection> rejected;
  std::map<uint32_t, LeastBad> least_bad;
  const auto reject = [&](Rejection rejection) { rejected.emplace(rejection.carton_id, std::move(rejection)); };
  const auto barred = [&](uint32_t id) -> bool {
    if (std::find(request.skip.begin(), request.skip.end(), id) != request.skip.end()) {
      reject({id,
              Reason::kSkippedByPerson,
              0.0,
              0.0,
              {},
              "left where it is: a question about it was answered so, or timed out"});
      return true;
    }
    const auto failed = request.failed.find(id);
    if (failed != request.failed.end() && failed->second >= request.max_failed) {
      std::ostringstream text;
      text << failed->second << " attempts failed";
      reject({id,
              Reason::kFailedBefore,
              static_cast<double>(failed->second),
              static_cast<double>(request.max_failed),
              {},
              text.str()});
      return true;
    }
    const Box& box = graph_.box(graph_.slot_of(id));
    if (box.confidence < parameters_.confidence_min) {
      std::ostringstream text;
      text << "confidence " << box.confidence << " is below " << parameters_.confidence_min;
      reject({id, Reason::kUncertain, box.confidence, parameters_.confidence_min, {}, text.str()});
      return true;
    }
    return false;
  };

  BasePose base = request.base;
  bool first_step = true;
  for (int step = 0; step < parameters_.max_picks; ++step) {
    // Candidates of this step.
    std::vector<Option> options;
    std::vector<uint32_t> live;
    for (size_t s = 0; s < graph_.slots(); ++s) {
      const auto slot = static_cast<int32_t>(s);
      if (!graph_.alive(slot)) {
        continue;
      }
      const uint32_t id = graph_.box(slot).id;
      live.push_back(id);
      if (!first_step && rejected.count(id) != 0 &&
          (rejected[id].reason == Reason::kSkippedByPerson || rejected[id].reason == Reason::kFailedBefore ||
           rejected[id].reason == Reason::kUncertain)) {
        continue;
      }
      if (first_step && barred(id)) {
        continue;
      }
      std::vector<Grasp> grasps;
      Rejection why_not;
      finder_.find(graph_, slot, request.unknown, &grasps, &why_not);
      if (grasps.empty() && first_step) {
        reject(why_not);
      }
      finder_.find_groups(graph_, slot, request.unknown, &grasps);
      for (const Grasp& grasp : grasps) {
        bool allowed = true;
        for (int k = 0; k < grasp.count; ++k) {
          const uint32_t member = grasp.ids[static_cast<size_t>(k)];
          const auto known = rejected.find(member);
          allowed = allowed && (known == rejected.end() || known->second.reason == Reason::kBlocked ||
                                known->second.reason == Reason::kNoGrasp || !first_step);
          if (request.failed.count(member) != 0 && request.failed.at(member) >= request.max_failed) {
            allowed = false;
          }
          allowed = allowed && std::find(request.skip.begin(), request.skip.end(), member) == request.skip.end() &&
                    graph_.box(grasp.slots[static_cast<size_t>(k)]).confidence >= parameters_.confidence_min;
        }
        if (first_step && !not_first.empty()) {
          std::vector<uint32_t> ids(grasp.ids.begin(), grasp.ids.begin() + grasp.count);
          std::sort(ids.begin(), ids.end());
          allowed = allowed && std::find(not_first.begin(), not_first.end(), ids) == not_first.end();
        }
        if (allowed) {
          Option option;
          option.grasp = grasp;
          options.push_back(option);
        }
      }
    }
    if (live.empty()) {
      break;
    }

    // Reach and time.
    std::vector<Grasp> grasps;
    grasps.reserve(options.size());
    for (const Option& option : options) {
      grasps.push_back(option.grasp);
    }
    const bool ask = static_cast<bool>(request.reach) && plan.advance_base_m == 0.0;
    std::vector<double> times;
    if (ask && !grasps.empty()) {
      times = request.reach(grasps);
      if (times.size() != grasps.size()) {
        throw InputError(std::nullopt, std::nullopt, "reach", "reach must return one time for each grasp");
      }
    }
    const Vec3 mount = to_trailer(base, Vec3(arm_.mount_x_m, arm_.mount_y_m, arm_.shoulder_z_m));
    double highest = 0.0;
    for (const uint32_t id : live) {
      highest = std::max(highest, graph_.high(graph_.slot_of(id)).z());
    }
    for (size_t i = 0; i < options.size(); ++i) {
      Option& option = options[i];
      option.level_s = parameters_.level_cost_spm * (highest - graph_.high(option.grasp.slots[0]).z());
      option.risk_s = drag_s(option.grasp);
      const double motion = ask ? times[i] : seconds(option.grasp, base);
      option.reachable = std::isfinite(motion);
      option.distance_m = (option.grasp.position - mount).norm();
      const double pull = option.grasp.extract.norm();
      option.expected_s = (option.reachable ? motion : 0.0) + parameters_.grip_s + parameters_.release_s +
                          parameters_.sense_s + (pull + option.grasp.lift) / option.grasp.speed_limit;
    }
    for (Option& option : options) {
      option.tie = fnv1a(&option.grasp.ids[0], sizeof(uint32_t), fnv1a(&request.seed, sizeof(request.seed)));
    }
    std::stable_sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
      return a.score() != b.score() ? a.score() < b.score() : a.tie < b.tie;
    });
    std::map<std::vector<int32_t>, Removal> removals;

    // Why an unsafe way is not taken; it is also kept as an option for a person.
    const auto blame = [&](const Option& option, const Removal& alone) {
      const uint32_t id = option.grasp.ids[0];
      const bool unstable =
          alone.verdict == Verdict::kCollapses && alone.acceleration >= statics_parameters_.acceleration_threshold_mps2;
      Rejection rejection;
      rejection.carton_id = id;
      for (const int32_t slot : option.stroke.falls) {
        rejection.because_of.push_back(graph_.box(slot).id);
      }
      std::ostringstream text;
      if (option.stroke.verdict == Verdict::kUndecided) {
        rejection.reason = Reason::kUndecided;
        text << "the analysis reached its limit; treated as unstable";
      } else if (unstable) {
        rejection.reason = Reason::kUnstable;
        rejection.figure = alone.acceleration;
        rejection.limit = statics_parameters_.acceleration_threshold_mps2;
        text << "without it " << alone.falls.size() << " cartons (" << names(rejection.because_of)
             << ") would move off at " << alone.acceleration << " m/s^2";
      } else {
        rejection.reason = Reason::kStrokeUnsafe;
        rejection.figure = option.stroke.displacement_m;
        rejection.limit = parameters_.stroke_limit_m;
        if (option.stroke.jams) {
          text << "it would jam: drawn askew past what stands beside it, by " << option.stroke.displacement_m << " m";
        } else {
          text << "its way out would move " << rejection.because_of.size() << " others (" << names(rejection.because_of)
               << ")";
        }
      }
      rejection.text = text.str();
      LeastBad bad;
      bad.pick = {option.grasp, option.stroke.acceleration, option.expected_s,
                  parameters_.fall_cost_s * static_cast<double>(std::max<size_t>(1, option.stroke.falls.size())),
                  option.stroke.certificate};
      bad.rejection = rejection;
      const auto earlier = least_bad.find(id);
      if (earlier == least_bad.end() || bad.pick.risk_s < earlier->second.pick.risk_s) {
        least_bad[id] = bad;
      }
      return rejection;
    };
    std::vector<size_t> loaded;
    bool judged = false;
    // Judge in order of time; one removal is judged once per load and stroke.
    std::map<uint32_t, size_t> best_of;
    size_t chosen = options.size();
    std::vector<size_t> safe;
    for (size_t i = 0; i < options.size(); ++i) {
      Option& option = options[i];
      const uint32_t id = option.grasp.ids[0];
      if (!option.reachable && first_step && option.grasp.count == 1) {
        if (best_of.count(id) == 0 && rejected.count(id) == 0) {
          std::ostringstream text;
          text << "out of reach from here: " << option.distance_m << " m from the arm";
          reject({id, Reason::kUnreachable, option.distance_m, arm_.reach_max_m, {}, text.str()});
        }
      }
      if (!option.reachable) {
        continue;
      }
      if (option.grasp.count == 1 && best_of.count(id) != 0) {
        continue;  // a quicker stroke of this carton is safe already
      }
      if (out_of_time() && !safe.empty()) {
        plan.complete = false;
        if (first_step && option.grasp.count == 1 && rejected.count(id) == 0) {
          reject({id, Reason::kUndecided, 0.0, 0.0, {}, "the time budget ended before it was judged"});
        }
        continue;
      }
      if (option.grasp.count > 1 && !safe.empty()) {
        continue;  // sorted by time: a group behind the best is of no use, and is not to be explained
      }
      const std::vector<int32_t> load(option.grasp.slots.begin(), option.grasp.slots.begin() + option.grasp.count);
      const std::vector<uint32_t> loaded_by = above(graph_, load);
      if (!loaded_by.empty()) {
        if (first_step && option.grasp.count == 1 && rejected.count(id) == 0) {
          Rejection rejection{id, Reason::kBlocked, static_cast<double>(loaded_by.size()), 0.0, loaded_by, {}};
          rejection.text = std::to_string(loaded_by.size()) + " cartons stand on it (" + names(loaded_by) + ")";
          reject(std::move(rejection));
          loaded.push_back(i);
        }
        continue;
      }
      auto known = removals.find(load);
      if (known == removals.end()) {
        known = removals.emplace(load, statics_->analyse(load)).first;
      }
      const Removal& alone = known->second;
      judged = true;
      option.stroke = predict_stroke(graph_, *statics_, option.grasp, alone, parameters_);
      option.grasp.speed_limit = std::min(option.grasp.speed_limit, option.stroke.speed_limit_mps);
      option.risk_s =
          drag_s(option.grasp) +
          parameters_.fall_cost_s * 0.01 * std::min(1.0, option.stroke.displacement_m / parameters_.stroke_limit_m);
      if (option.stroke.safe) {
        safe.push_back(i);
        if (option.grasp.count == 1) {
          best_of[id] = i;
          if (first_step) {
            rejected.erase(id);
          }
        }
      } else if (first_step && option.grasp.count == 1) {
        const Rejection rejection = blame(option, alone);
        if (rejected.count(id) == 0 || rejected[id].reason == Reason::kUnreachable) {
          rejected[id] = rejection;
        }
      }
    }
    if (safe.empty() && first_step && !out_of_time()) {
      for (const size_t i : loaded) {
        Option& option = options[i];
        const Removal alone = statics_->analyse({option.grasp.slots[0]});
        option.stroke = predict_stroke(graph_, *statics_, option.grasp, alone, parameters_);
        blame(option, alone);
      }
    }
    if (safe.empty()) {
      if (plan.picks.empty() && plan.advance_base_m == 0.0 && parameters_.max_advance_m > 0.0) {
        // Nothing can be taken from here: would it be possible from nearer?
        double front = std::numeric_limits<double>::infinity();
        for (const Option& option : options) {
          if (!option.reachable) {
            front = std::min(front, option.grasp.position.x());
          }
        }
        const double advance = std::min(front - mount.x() - parameters_.working_distance_m, parameters_.max_advance_m);
        if (std::isfinite(front) && advance > 0.05) {
          plan.advance_base_m = advance;
          base.x += advance * std::cos(base.yaw);
          base.y += advance * std::sin(base.yaw);
          for (auto it = rejected.begin(); it != rejected.end();) {
            it = it->second.reason == Reason::kUnreachable ? rejected.erase(it) : std::next(it);
          }
          plan.expected_s += parameters_.base_overhead_s + advance / parameters_.base_speed_mps;
          --step;
          continue;
        }
      }
      plan.dead_end = judged && !plan.picks.empty();
      break;
    }
    std::stable_sort(safe.begin(), safe.end(),
                     [&](size_t a, size_t b) { return options[a].score() < options[b].score(); });
    chosen = safe.front();

    const Option& best = options[chosen];
    plan.picks.push_back({best.grasp, best.stroke.acceleration, best.expected_s, best.risk_s, best.stroke.certificate});
    plan.expected_s += best.expected_s;
    if (first_step) {
      for (const auto& [id, index] : best_of) {
        if (std::find(best.grasp.ids.begin(), best.grasp.ids.begin() + best.grasp.count, id) !=
            best.grasp.ids.begin() + best.grasp.count) {
          continue;
        }
        const double extra = options[index].score() - best.score();
        std::ostringstream text;
        text << "takeable, but " << extra << " s slower than carton " << best.grasp.ids[0];
        reject({id, Reason::kCostlier, extra, 0.0, {best.grasp.ids[0]}, text.str()});
      }
    }
    for (int k = 0; k < best.grasp.count; ++k) {
      rejected.erase(best.grasp.ids[static_cast<size_t>(k)]);
    }
    first_step = false;
    const Grasp taken = best.grasp;
    for (int k = 0; k < taken.count; ++k) {
      graph_.remove(taken.slots[static_cast<size_t>(k)]);
    }
    if (out_of_time()) {
      plan.complete = plan.complete && graph_.slots() == 0;
      break;
    }
    if (step + 1 < parameters_.max_picks) {
      settle(&graph_, statics_.get());
    }
  }

  // A carton that a later pick of this plan takes is not rejected.
  for (const Pick& pick : plan.picks) {
    for (int k = 0; k < pick.grasp.count; ++k) {
      rejected.erase(pick.grasp.ids[static_cast<size_t>(k)]);
    }
  }
  for (auto& entry : rejected) {
    plan.rejected.push_back(std::move(entry.second));
  }
  if (plan.picks.empty()) {
    plan.outcome = boxes.empty() ? PlanOutcome::kNone : PlanOutcome::kNoRemovableCarton;
    for (auto& entry : least_bad) {
      plan.least_bad.push_back(std::move(entry.second));
    }
    std::stable_sort(plan.least_bad.begin(), plan.least_bad.end(), [](const LeastBad& a, const LeastBad& b) {
      return a.pick.risk_s + a.pick.expected_s < b.pick.risk_s + b.pick.expected_s;
    });
    plan.text = boxes.empty() ? "no carton left" : "no carton can be taken safely";
  } else {
    std::ostringstream text;
    text << plan.picks.size() << " picks, " << plan.expected_s << " s";
    if (plan.advance_base_m != 0.0) {
      text << ", after advancing the base by " << plan.advance_base_m << " m";
    }
    text << (plan.dead_end ? "; after them nothing more can be taken safely as it stands now" : "");
    plan.text = text.str();
  }
  return plan;
}

}  // namespace lumper_core
