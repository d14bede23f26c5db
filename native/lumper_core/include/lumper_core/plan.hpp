#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lumper_core/statics.hpp"

namespace lumper_core {

enum class Stroke : uint8_t { kFrontPull = 0, kLiftPull = 1, kTopPick = 2, kSlowPull = 3, kTiltPull = 4 };

/// Values as in lumper_msgs/RejectedCarton.
enum class Reason : uint8_t {
  kUnstable = 1,
  kUndecided = 2,
  kNoGrasp = 3,
  kTooHeavy = 4,
  kUnreachable = 5,
  kStrokeUnsafe = 6,
  kUncertain = 7,
  kBlocked = 8,
  kCostlier = 9,
  kSkippedByPerson = 10,
  kFailedBefore = 11,
  kDeadEnd = 12,
};

/// Values as in lumper_msgs/OutcomeCode.
enum class PlanOutcome : uint16_t { kNone = 0, kNoRemovableCarton = 400 };

/// Suction pad: columns x rows zones over width (tool0 x) x height (tool0 y).
struct Gripper {
  double width_m = 0.40;
  double height_m = 0.30;
  int columns = 3;
  int rows = 2;
  double zone_force_n = 150.0;
  double shear_friction = 0.6;
  double seal_fraction = 0.90;
  double cup_stroke_m = 0.015;
  double safety_factor = 1.5;
  double clearance_m = 0.02;
};

/// Simple reach and speed model. mount_*: arm axis in base_link.
struct Arm {
  double mount_x_m = 0.0;
  double mount_y_m = 0.55;
  double shoulder_z_m = 0.55;
  double wrist_to_tool_m = 0.40;
  double reach_min_m = 0.75;
  double reach_max_m = 2.85;
  double payload_kg = 107.0;
  double tool_speed_mps = 2.2;
  double tool_acceleration_mps2 = 5.0;
  double carry_speed_mps = 1.8;
};

/// Where loads are laid down, in base_link.
struct Conveyor {
  double infeed_x_m = 0.45;
  double infeed_y_m = -0.70;
  double infeed_z_m = 0.55;
  double belt_width_m = 0.80;
};

/// Costs and limits of the choice.
struct PlanParameters {
  int max_picks = 5;
  int max_group = 2;
  int lookahead = 2;  ///< other first picks that are tried where the best one leads to a dead end
  double confidence_min = 0.5;
  double grip_s = 0.25;
  double release_s = 0.20;
  double sense_s = 0.30;
  double base_speed_mps = 0.3;
  double base_overhead_s = 2.0;
  double fall_cost_s = 60.0;
  double pull_speed_mps = 0.5;
  double slow_pull_speed_mps = 0.15;
  double lift_m = 0.02;
  double tilt_rad = 0.05;
  double extract_margin_m = 0.10;
  double working_distance_m = 1.9;
  double max_advance_m = 1.0;
  double stroke_limit_m = 0.03;
  double hold_press_n = 500.0;
  /// Of pulling a load over what it stands on: a stiff arm presses it down by what it is mistaken about its height.
  double drag_cost_s = 0.1;
  double level_cost_spm = 3.0;  ///< of taking a carton below the highest one: pits are slow to reach into, s/m
};

/// One way to take a load; fields as in GRASP_DTYPE of the Python module.
struct Grasp {
  static constexpr int kMaxIds = 4;
  int count = 0;
  std::array<uint32_t, kMaxIds> ids{};
  std::array<int32_t, kMaxIds> slots{};
  Stroke stroke = Stroke::kFrontPull;
  Vec3 position = Vec3::Zero();
  Quaternion orientation = Quaternion::Identity();
  uint32_t zones = 0;
  Vec3 extract = Vec3::Zero();
  double lift = 0.0;
  double tilt = 0.0;
  double speed_limit = 0.0;
  Vec3 size = Vec3::Zero();
  Vec3 load_position = Vec3::Zero();
  Quaternion load_orientation = Quaternion::Identity();
  Vec3 place_position = Vec3::Zero();
  Quaternion place_orientation = Quaternion::Identity();
  double mass = 0.0;
  double holding_margin = 0.0;
};

struct Pick {
  Grasp grasp;
  double predicted_accel_mps2 = 0.0;
  double expected_s = 0.0;
  double risk_s = 0.0;
  uint64_t certificate = 0;
};

struct Rejection {
  uint32_t carton_id = 0;
  Reason reason = Reason::kNoGrasp;
  double figure = 0.0;
  double limit = 0.0;
  std::vector<uint32_t> because_of;
  std::string text;
};

struct LeastBad {
  Pick pick;
  Rejection rejection;
};

struct Plan {
  PlanOutcome outcome = PlanOutcome::kNone;
  std::string text;
  std::vector<Pick> picks;
  std::vector<Rejection> rejected;
  std::vector<LeastBad> least_bad;
  double advance_base_m = 0.0;
  double expected_s = 0.0;
  double planning_s = 0.0;
  bool complete = true;
  bool dead_end = false;  ///< after these picks nothing that can be reached can be taken safely
};

/// Pose of base_link in the trailer.
struct BasePose {
  double x = 0.0;
  double y = 0.0;
  double yaw = 0.0;
};

/// Seconds for approach, carry and return of each grasp; NaN = not reachable.
using Reach = std::function<std::vector<double>(const std::vector<Grasp>&)>;

struct PlanRequest {
  BasePose base;
  Reach reach;
  std::vector<std::pair<Vec3, Vec3>> unknown;  ///< corners of space that nothing has looked into
  std::vector<uint32_t> skip;
  std::map<uint32_t, int> failed;
  int max_failed = 2;
  double budget_s = 0.05;
  uint64_t seed = 0;  ///< orders loads whose cost is equal; nothing else is drawn
};

/// What the way out does to the other boxes.
struct StrokePrediction {
  bool safe = false;
  Verdict verdict = Verdict::kUndecided;
  double displacement_m = 0.0;  ///< predicted for the worst other box
  double acceleration = 0.0;
  double speed_limit_mps = 0.0;
  uint64_t certificate = 0;
  std::vector<int32_t> falls;
  bool jams = false;  ///< it is drawn into what stands beside it, which cannot or will not give way
};

/// Predict a whole stroke: the removal itself (`gone`), what rides on the load, what the load drags.
StrokePrediction predict_stroke(const ContactGraph& graph, Statics& statics, const Grasp& grasp, const Removal& gone,
                                const PlanParameters& parameters);

/// All ways to take single boxes and groups from this pile, before statics and reach.
class GraspFinder {
 public:
  GraspFinder(const Gripper& gripper, const Arm& arm, const Conveyor& conveyor, const PlanParameters& parameters)
      : gripper_(gripper), arm_(arm), conveyor_(conveyor), parameters_(parameters) {}
  /// `why_not`: where a slot yields no grasp, the reason.
  void find(const ContactGraph& graph, int32_t slot, const std::vector<std::pair<Vec3, Vec3>>& unknown,
            std::vector<Grasp>* grasps, Rejection* why_not) const;
  void find_groups(const ContactGraph& graph, int32_t slot, const std::vector<std::pair<Vec3, Vec3>>& unknown,
                   std::vector<Grasp>* grasps) const;
  /// Grasp one load made of these slots by the face that looks along `outward`; false: no hold.
  bool hold(const ContactGraph& graph, const std::vector<int32_t>& slots, const Vec3& outward, Grasp* grasp) const;

 private:
  void strokes(const ContactGraph& graph, const std::vector<int32_t>& slots,
               const std::vector<std::pair<Vec3, Vec3>>& unknown, std::vector<Grasp>* grasps, Rejection* why_not) const;

  Gripper gripper_;
  Arm arm_;
  Conveyor conveyor_;
  PlanParameters parameters_;
};

class Planner {
 public:
  Planner(const Trailer& trailer, const Gripper& gripper, const Arm& arm, const Conveyor& conveyor,
          const StaticsParameters& statics, const PlanParameters& parameters);
  Plan plan(const std::vector<Box>& boxes, const PlanRequest& request);
  std::vector<Grasp> grasps(const std::vector<Box>& boxes);
  /// Predict these strokes (ids, stroke, extract, lift, tilt and speed_limit are read) on this wall.
  std::vector<StrokePrediction> strokes(const std::vector<Box>& boxes, std::vector<Grasp> grasps);

 private:
  struct Option;
  /// The cheapest pick again and again, from `start` (thread CPU time) on; the loads in `not_first` are not taken
  /// first.
  Plan sequence(const std::vector<Box>& boxes, const PlanRequest& request, double start,
                const std::vector<std::vector<uint32_t>>& not_first);
  double seconds(const Grasp& grasp, const BasePose& base) const;
  double drag_s(const Grasp& grasp) const;
  void load(const std::vector<Box>& boxes, std::vector<std::string>* warnings);

  Trailer trailer_;
  Gripper gripper_;
  Arm arm_;
  Conveyor conveyor_;
  StaticsParameters statics_parameters_;
  PlanParameters parameters_;
  GraspFinder finder_;
  ContactGraph graph_;
  std::unique_ptr<Statics> statics_;
};

}  // namespace lumper_core
