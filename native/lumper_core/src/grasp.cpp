#include <algorithm>
#include <cmath>
#include <sstream>

#include "lumper_core/plan.hpp"

namespace lumper_core {
namespace {

constexpr double kFacing = 0.9;  // cosine between a face's normal and the direction it counts for
constexpr double kCarryAcceleration_mps2 = 2.0;
constexpr double kOverlap_m = 0.01;       // neighbours that reach this little into the swept space are brushed, not hit
constexpr double kBrushed_m = 0.005;      // what stands in front by more beside the way out is pushed over, not brushed
constexpr double kOverFront_m = 0.03;     // a load lifted over what stands in front hangs lower than it was measured
constexpr double kCupShare = 0.8;         // of a zone's width and height its cups cover
constexpr double kAmpleMargin = 2.5;      // holding beyond this counts for no more
constexpr double kOverhangCost_pm = 8.0;  // margin given up for each metre that the pad hangs below the load
constexpr double kCorridor_m = 0.60;      // in front of a face, as deep as a carton that stands out beside it
constexpr double kUnknownSpill_m = 0.08;
constexpr double kWristUnderRoof_m = 0.35;
constexpr double kWall_m = 0.015;  // the motion broker keeps 0.02 m from what it knows; clearance_m is on top
// What a top grasp needs under the roof: approach 0.06 (the shortest), gripper and wrist 0.51, clearance.
constexpr double kHeadroom_m = 0.64;
/// Cosine from which on a box stands square, not tilted: 6 degrees.
constexpr double kUpright = 0.9945;
constexpr double kTilt = 0.1;  ///< its sine
/// Height over the smaller side of its base from which on the starting belt tips a carton.
constexpr double kSlender = 2.8;
constexpr double kAskew = 0.035;  ///< sine from which on a load is drawn square to its own front, not along the trailer
constexpr double kAlike = 0.02;   ///< fronts of a group differ by no more
constexpr double kDeepest_m = 0.61;  // a carton of unknown depth is pulled as far as the deepest one

struct FaceView {
  Vec3 centre, normal, u, v;  // u, v: unit, along the face
  double size_u, size_v, depth;
  uint8_t bit;
};

bool facing(const Box& box, const Vec3& outward, FaceView* view) {
  const Mat3 axes = box.orientation.toRotationMatrix();
  for (int k = 0; k < 3; ++k) {
    const double c = axes.col(k).dot(outward);
    if (std::abs(c) < kFacing) {
      continue;
    }
    const double sign = c > 0 ? 1.0 : -1.0;
    view->normal = axes.col(k) * sign;
    view->centre = box.position + view->normal * (0.5 * box.size[k]);
    const int iu = (k + 1) % 3;
    const int iv = (k + 2) % 3;
    view->u = axes.col(iu);
    view->v = axes.col(iv);
    view->size_u = box.size[iu];
    view->size_v = box.size[iv];
    view->depth = box.size[k];
    view->bit = static_cast<uint8_t>(1U << (2 * k + (sign > 0 ? 1 : 0)));
    return true;
  }
  return false;
}

/// Slots other than `own` whose bounds reach into [low, high] by more than kOverlap_m on every axis, sideways by
/// `beside_m`.
std::vector<int32_t> inside(const ContactGraph& graph, const Vec3& low, const Vec3& high,
                            const std::vector<int32_t>& own, double beside_m = kOverlap_m) {
  std::vector<int32_t> found;
  std::vector<int32_t> result;
  graph.query(low, high, 0.0, &found);
  for (const int32_t slot : found) {
    if (std::find(own.begin(), own.end(), slot) != own.end()) {
      continue;
    }
    const Vec3 depth = graph.high(slot).cwiseMin(high) - graph.low(slot).cwiseMax(low);
    if ((depth.array() > Vec3(kOverlap_m, beside_m, kOverlap_m).array()).all()) {
      result.push_back(slot);
    }
  }
  return result;
}

/// Whether a gripper that fills [low, high] keeps clear of the trailer's walls, roof and floor.
bool within(const Trailer& trailer, const Vec3& low, const Vec3& high) {
  return low.y() > -0.5 * trailer.width_m + kWall_m && high.y() < 0.5 * trailer.width_m - kWall_m &&
         high.x() < trailer.length_m - kWall_m && high.z() < trailer.height_m - kWall_m && low.z() > kWall_m;
}

/// The map of what was not seen is coarse: a cell that reaches a little into [low, high] is a neighbour's.
bool meets(const std::vector<std::pair<Vec3, Vec3>>& unknown, const Vec3& low, const Vec3& high) {
  const Vec3 spill = (0.4 * (high - low)).cwiseMin(kUnknownSpill_m);
  for (const auto& [from, to] : unknown) {
    const Vec3 depth = to.cwiseMin(high) - from.cwiseMax(low);
    if ((depth - spill).minCoeff() > 0.0) {
      return true;
    }
  }
  return false;
}

/// Where the pad's middle is tried beside the face's along one side of it, in quarters of a zone: as far as the middle
/// of at least one zone stays on the face's; on a face that is smaller than the pad also where the pad just clears what
/// stands out beside either edge, and on until its last zone would leave the face (a narrow carton at the trailer's
/// wall).
std::vector<double> shifts(int zones, double cell_m, double pad_m, double face_m, double clearance_m) {
  std::vector<double> result;
  const int most = 2 * (zones - 1);
  for (int shift = -most; shift <= most; ++shift) {
    result.push_back(shift);
  }
  const double flush_m = 0.5 * (pad_m - face_m) + clearance_m - 0.9 * kOverlap_m;
  if (face_m < pad_m) {
    const double farthest = most + std::max(0.0, 0.5 * (face_m - cell_m)) / (0.25 * cell_m);
    for (const double side : {-1.0, 1.0}) {
      result.push_back(side * flush_m / (0.25 * cell_m));
      for (double shift = most + 1.0; shift < farthest; ++shift) {
        result.push_back(side * shift);
      }
      result.push_back(side * farthest);
    }
  }
  return result;
}

/// Which axis of a box stands most upright, and where it points when taken upwards.
int upright_axis(const Mat3& axes, Vec3* up) {
  int index = 0;
  axes.row(2).cwiseAbs().maxCoeff(&index);
  *up = axes.col(index) * (axes(2, index) > 0.0 ? 1.0 : -1.0);
  return index;
}

/// Whether `other`, tilted, rests with its upper part against the body at `patch`.
bool leans(const ContactGraph& graph, const Patch& patch, int32_t other) {
  const Box& box = graph.box(other);
  Vec3 up;
  upright_axis(box.orientation.toRotationMatrix(), &up);
  if (up.z() > kUpright) {
    return false;
  }
  const Vec3 at = patch.middle();
  const Vec3 along = Vec3(up.x(), up.y(), 0.0).normalized();
  return std::abs(patch.normal.dot(along)) > 0.7 && (at - box.position).dot(along) > 0.0 && at.z() > box.position.z();
}

/// Boxes outside of `slots` that stand on `slot` or lean against it.
std::vector<int32_t> burdens(const ContactGraph& graph, int32_t slot, const std::vector<int32_t>& slots) {
  std::vector<int32_t> result;
  for (const int32_t index : graph.patches_of(slot)) {
    const Patch& patch = graph.patches()[static_cast<size_t>(index)];
    const int32_t other = patch.a == slot ? patch.b : patch.a;
    if (other < 0 || std::find(slots.begin(), slots.end(), other) != slots.end()) {
      continue;
    }
    if ((patch.support && patch.a == slot) || leans(graph, patch, other)) {
      result.push_back(other);
    }
  }
  return result;
}

/// Straight out of the place where these boxes stand: along the trailer, or square to their common front if that stands
/// askew.
Vec3 way_out(const ContactGraph& graph, const std::vector<int32_t>& slots) {
  Vec3 way = -Vec3::UnitX();
  for (const int32_t slot : slots) {
    FaceView face;
    if (!facing(graph.box(slot), -Vec3::UnitX(), &face)) {
      return -Vec3::UnitX();
    }
    const Vec3 own = Vec3(face.normal.x(), face.normal.y(), 0.0).normalized();
    if (slot == slots[0]) {
      way = own;
    } else if (std::abs(own.y() - way.y()) > kAlike) {
      return -Vec3::UnitX();
    }
  }
  return std::abs(way.y()) < kAskew ? Vec3(-Vec3::UnitX()) : way;
}

/// Whether the boxes' fronts leave no corner of their common outline to others: the load is carried as one box.
bool fills_its_front(const ContactGraph& graph, const std::vector<int32_t>& slots) {
  constexpr double kFilled = 0.9;
  Vec3 low = Vec3::Constant(1e9);
  Vec3 high = Vec3::Constant(-1e9);
  double filled = 0.0;
  for (const int32_t slot : slots) {
    const Vec3 own = graph.high(slot) - graph.low(slot);
    filled += own.y() * own.z();
    low = low.cwiseMin(graph.low(slot));
    high = high.cwiseMax(graph.high(slot));
  }
  return slots.size() < 3 || filled >= kFilled * (high.y() - low.y()) * (high.z() - low.z());
}

}  // namespace

bool GraspFinder::hold(const ContactGraph& graph, const std::vector<int32_t>& slots, const Vec3& outward,
                       Grasp* grasp) const {
  // The load: bounding box of the group in the axes of its first box.
  const Box& first = graph.box(slots[0]);
  const Mat3 axes = first.orientation.toRotationMatrix();
  Vec3 low = Vec3::Constant(1e9);
  Vec3 high = Vec3::Constant(-1e9);
  double mass = 0.0;
  double mass_spread = 0.0;
  Vec3 moment = Vec3::Zero();
  for (const int32_t slot : slots) {
    const Box& box = graph.box(slot);
    const Mat3 own = axes.transpose() * box.orientation.toRotationMatrix();
    const Vec3 half = own.cwiseAbs() * (0.5 * box.size);
    const Vec3 centre = axes.transpose() * box.position;
    low = low.cwiseMin(centre - half);
    high = high.cwiseMax(centre + half);
    mass += box.mass + box.mass_sigma;
    mass_spread += box.mass_sigma;
    moment += box.position * (box.mass + box.mass_sigma);
  }
  Vec3 centre_of_mass = moment / mass;
  Box load = first;
  load.size = high - low;
  load.position = axes * (0.5 * (low + high));
  FaceView face;
  if (!facing(load, outward, &face)) {
    return false;
  }
  // What nobody has seen the back of may reach as far as the deepest carton: so much must be carried past everything.
  const bool unmeasured = std::any_of(slots.begin(), slots.end(),
                                      [&graph](int32_t slot) { return (graph.box(slot).size_unknown & 1U) != 0U; });
  if (unmeasured && outward.x() < -0.5) {
    double room = std::min(kDeepest_m, graph.trailer().length_m - face.centre.x());
    // What leans back cannot be deeper than the floor lets it.
    if (face.normal.z() > kTilt) {
      const double lowest =
          face.centre.z() - 0.5 * (std::abs(face.u.z()) * face.size_u + std::abs(face.v.z()) * face.size_v);
      room = std::min(room, std::max(0.0, lowest) / face.normal.z());
    }
    const double more = std::max(0.0, room - face.depth);
    const Vec3 along = (axes.transpose() * face.normal).cwiseAbs();
    int k = 0;
    along.maxCoeff(&k);
    load.size[k] += more;
    load.position -= face.normal * (0.5 * more);
    // Who carries it takes the load's middle for its centre.
    centre_of_mass -= face.normal * (0.5 * more);
  }
  // tool0: z into the load; x as level as can be, to the left for a front face.
  const Vec3 z = -face.normal;
  const Vec3 level = std::abs(z.z()) > 0.5 ? Vec3::UnitY() : Vec3(Vec3::UnitZ().cross(z));
  const bool u_is_x = std::abs(face.u.dot(level)) >= std::abs(face.v.dot(level));
  Vec3 x = u_is_x ? face.u : face.v;
  if (x.dot(level) < 0.0) {
    x = -x;
  }
  double best_margin = 0.0;
  double best_preference = -1e9;
  const bool level_grasp = std::abs(z.z()) <= 0.5;
  const double low_z = load.position.z() - (axes.cwiseAbs() * (0.5 * load.size)).z();
  for (int quarter = 0; quarter < 2; ++quarter) {
    const Vec3 tool_x = quarter == 0 ? x : Vec3(z.cross(x));
    const Vec3 tool_y = z.cross(tool_x);
    const double cell_w = gripper_.width_m / gripper_.columns;
    const double cell_h = gripper_.height_m / gripper_.rows;
    const double across = std::abs(face.u.dot(tool_x)) > 0.5 ? face.size_u : face.size_v;
    const double along = std::abs(face.u.dot(tool_x)) > 0.5 ? face.size_v : face.size_u;
    for (const double shift_x : shifts(gripper_.columns, cell_w, gripper_.width_m, across, gripper_.clearance_m)) {
      for (const double shift_y : shifts(gripper_.rows, cell_h, gripper_.height_m, along, gripper_.clearance_m)) {
        const Vec3 centre = face.centre + tool_x * (0.25 * shift_x * cell_w) + tool_y * (0.25 * shift_y * cell_h);
        uint32_t zones = 0;
        int held = 0;
        double lever = 0.0;  // sum of zone distances from the lowest held edge, for tipping
        Vec3 zone_centre = Vec3::Zero();
        std::array<int, Grasp::kMaxIds> per_box{};
        double lowest = 1e9;
        std::vector<Vec3> held_centres;
        for (int row = 0; row < gripper_.rows; ++row) {
          for (int column = 0; column < gripper_.columns; ++column) {
            const Vec3 zone = centre + tool_x * ((column + 0.5) * cell_w - 0.5 * gripper_.width_m) +
                              tool_y * ((row + 0.5) * cell_h - 0.5 * gripper_.height_m);
            for (size_t b = 0; b < slots.size(); ++b) {
              FaceView own;
              const Box& box = graph.box(slots[b]);
              if (!facing(box, outward, &own)) {
                return false;
              }
              const Vec3 d = zone - own.centre;
              const double along_u = std::abs(d.dot(own.u));
              const double along_v = std::abs(d.dot(own.v));
              const bool wide_u = std::abs(own.u.dot(tool_x)) > 0.5;
              const double zu = wide_u ? cell_w : cell_h;
              const double zv = wide_u ? cell_h : cell_w;
              const double cover_u = std::clamp((0.5 * own.size_u - along_u + 0.5 * zu) / zu, 0.0, 1.0);
              const double cover_v = std::clamp((0.5 * own.size_v - along_v + 0.5 * zv) / zv, 0.0, 1.0);
              if (cover_u * cover_v >= gripper_.seal_fraction && std::abs(d.dot(own.normal)) < gripper_.cup_stroke_m) {
                zones |= 1U << (row * gripper_.columns + column);
                ++held;
                ++per_box[b];
                zone_centre += zone;
                held_centres.push_back(zone);
                lowest = std::min(lowest, zone.z() - 0.5 * cell_h);
                break;
              }
            }
          }
        }
        bool all_held = held > 0;
        for (size_t b = 0; b < slots.size(); ++b) {
          all_held = all_held && per_box[b] > 0;
        }
        if (!all_held) {
          continue;
        }
        // The pad sticks out over the load's edges and comes straight at the face: nothing may stand in that corridor.
        const Vec3 reach = tool_x.cwiseAbs() * (0.5 * gripper_.width_m + gripper_.clearance_m) +
                           tool_y.cwiseAbs() * (0.5 * gripper_.height_m + gripper_.clearance_m);
        const Vec3 near = centre + face.normal * gripper_.cup_stroke_m;
        const Vec3 far = centre + face.normal * (level_grasp ? kCorridor_m : kHeadroom_m);
        const Vec3 pad_low = near.cwiseMin(far) - reach;
        const Vec3 pad_high = near.cwiseMax(far) + reach;
        if (!within(graph.trailer(), pad_low, pad_high) || !inside(graph, pad_low, pad_high, slots).empty()) {
          continue;
        }
        zone_centre /= held;
        for (const Vec3& zone : held_centres) {
          lever += zone.z() - lowest;
        }
        const double weight = mass * kGravity;
        const double carry = mass * kCarryAcceleration_mps2;
        double use;
        if (std::abs(z.z()) > 0.5) {
          const Vec3 off = centre_of_mass - zone_centre;
          double radius = 0.5 * std::min(cell_w, cell_h);
          for (const Vec3& zone : held_centres) {
            radius = std::max(radius, (zone - zone_centre).norm() + 0.5 * std::min(cell_w, cell_h));
          }
          const double tipping = (weight * std::hypot(off.x(), off.y()) + carry * std::abs(off.z())) / radius;
          use = (weight + carry + tipping) / (held * gripper_.zone_force_n);
        } else {
          const Vec3 off = centre_of_mass - zone_centre;
          const double tip = weight * std::abs(off.dot(z));
          // A load that hangs beside the cups twists them too, with their mean distance from their centre as its lever.
          double around = kCupShare * (cell_w + cell_h) / 6.0;
          for (const Vec3& zone : held_centres) {
            around += (zone - zone_centre).norm() / held;
          }
          const double twist = weight * std::abs(z.cross(off).z()) / around;
          const double shear = (std::hypot(weight + 0.5 * carry, carry) + twist) /
                               (held * gripper_.zone_force_n * gripper_.shear_friction);
          // Sliding loads all cups, tipping the upper ones: they add as in an elliptical interaction.
          use = std::hypot(shear, tip / std::max(1e-6, gripper_.zone_force_n * lever));
        }
        double margin = 1.0 / use;
        for (size_t b = 0; b < slots.size() && slots.size() > 1; ++b) {
          const double own_weight = (graph.box(slots[b]).mass + graph.box(slots[b]).mass_sigma) * kGravity;
          margin = std::min(margin, per_box[b] * gripper_.zone_force_n * gripper_.shear_friction / (1.5 * own_weight));
        }
        // Where the hold is ample, a pad that does not hang below the load, and so can lay it down without dropping it;
        // then the unrotated, centred one.
        const double overhang = level_grasp ? std::max(0.0, low_z - (pad_low.z() + gripper_.clearance_m)) : 0.0;
        const double preference =
            std::min(margin, kAmpleMargin) * (1.0 - 0.005 * (std::abs(shift_x) + std::abs(shift_y)) - 0.02 * quarter) -
            kOverhangCost_pm * overhang;
        if (preference > best_preference && margin > 0.0) {
          best_preference = preference;
          best_margin = margin;
          Mat3 tool;
          tool.col(0) = tool_x;
          tool.col(1) = tool_y;
          tool.col(2) = z;
          grasp->position = centre;
          grasp->orientation = Quaternion(tool);
          grasp->zones = zones;
          grasp->holding_margin = margin;
        }
      }
    }
  }
  if (best_margin <= 0.0) {
    return false;
  }
  grasp->count = static_cast<int>(slots.size());
  for (size_t b = 0; b < slots.size(); ++b) {
    grasp->slots[b] = slots[b];
    grasp->ids[b] = graph.box(slots[b]).id;
  }
  // What the arm must be ready to carry: nobody has weighed it.
  grasp->mass = mass + mass_spread;
  const Quaternion inverse = grasp->orientation.conjugate();
  grasp->load_position = inverse * (load.position - grasp->position);
  grasp->load_orientation = inverse * load.orientation;
  const Mat3 in_tool = grasp->load_orientation.toRotationMatrix();
  grasp->size = in_tool.cwiseAbs() * load.size;

  // Laid down as it stands, but square: what leans is set upright, and what is so slender that the belt would tip it is
  // laid on its back. Turned so that the tool points across the belt (front grasp) or the long side lies along it.
  Vec3 up;
  const int upright = upright_axis(load.orientation.toRotationMatrix(), &up);
  const Vec3 likely = high - low;  // not the deepest that it may be
  const double height = likely[upright];
  const double base = std::min(likely[(upright + 1) % 3], likely[(upright + 2) % 3]);
  const bool on_its_back = level_grasp && height > kSlender * base;
  if (on_its_back) {
    up = face.normal;
  }
  const Quaternion laid = Quaternion::FromTwoVectors(up, Vec3::UnitZ()) * load.orientation;
  const Vec3 extent = laid.toRotationMatrix().cwiseAbs() * load.size;
  double yaw = std::abs(z.z()) > 0.5 || on_its_back ? 0.0 : -0.5 * M_PI;
  const double across = yaw == 0.0 ? extent.y() : extent.x();
  const double along = yaw == 0.0 ? extent.x() : extent.y();
  if (across > conveyor_.belt_width_m && along < across) {
    yaw += 0.5 * M_PI;
  }
  grasp->place_orientation = Quaternion(Eigen::AngleAxisd(yaw, Vec3::UnitZ())) * laid;
  const Vec3 placed = grasp->place_orientation.toRotationMatrix().cwiseAbs() * load.size;
  grasp->place_position = Vec3(0.0, 0.0, 0.5 * placed.z());
  return true;
}

void GraspFinder::strokes(const ContactGraph& graph, const std::vector<int32_t>& slots,
                          const std::vector<std::pair<Vec3, Vec3>>& unknown, std::vector<Grasp>* grasps,
                          Rejection* why_not) const {
  Vec3 low = Vec3::Constant(1e9);
  Vec3 high = Vec3::Constant(-1e9);
  bool carries = false;
  bool front_seen = true;
  bool top_seen = true;
  bool top_sure = true;  // seen for certain, not only by a detector that names no faces
  for (const int32_t slot : slots) {
    low = low.cwiseMin(graph.low(slot));
    high = high.cwiseMax(graph.high(slot));
    carries = carries || !burdens(graph, slot, slots).empty();
    const Box& box = graph.box(slot);
    FaceView face;
    const bool front = facing(box, -Vec3::UnitX(), &face);
    front_seen = front_seen && front && (box.visible_faces == 0 || (box.visible_faces & face.bit) != 0);
    const bool top = facing(box, Vec3::UnitZ(), &face);
    top_sure = top_sure && top && (box.visible_faces & face.bit) != 0;
    top_seen = top_seen && top && (box.visible_faces == 0 || (box.visible_faces & face.bit) != 0);
  }
  double depth = high.x() - low.x();
  for (const int32_t slot : slots) {
    if ((graph.box(slot).size_unknown & 1U) != 0U) {
      depth = std::max(depth, kDeepest_m);
    }
  }
  const double pull = depth + parameters_.extract_margin_m;
  const auto swept_low = [&](const Vec3& way) {
    return Vec3(low.x() - pull, low.y() + std::min(0.0, pull * way.y()), low.z());
  };
  const auto swept_high = [&](const Vec3& way) {
    return Vec3(low.x(), high.y() + std::max(0.0, pull * way.y()), high.z());
  };
  Vec3 way = way_out(graph, slots);
  if (way.y() != 0.0 &&
      (swept_low(way).y() < -0.5 * graph.trailer().width_m || swept_high(way).y() > 0.5 * graph.trailer().width_m ||
       !inside(graph, swept_low(way), swept_high(way), slots, kBrushed_m).empty())) {
    way = -Vec3::UnitX();
  }
  const Vec3 in_front_low = swept_low(way);
  const Vec3 in_front_high = swept_high(way);
  const auto blockers = inside(graph, in_front_low, in_front_high, slots, kBrushed_m);
  const bool front_unknown = meets(unknown, in_front_low, in_front_high);

  Rejection reason;
  reason.carton_id = graph.box(slots[0]).id;
  const auto offer = [&](Grasp grasp, Stroke stroke, double lift, double tilt, double speed) {
    grasp.stroke = stroke;
    grasp.lift = lift;
    grasp.tilt = tilt;
    grasp.speed_limit = speed;
    grasp.extract = way * pull;
    grasps->push_back(grasp);
  };
  const Vec3 on_top_low(low.x(), low.y(), high.z() + kOverlap_m);
  const Vec3 on_top_high(high.x(), high.y(), high.z() + 5.0 * kOverlap_m);
  // A top that is seen bears nothing that was not seen.
  if (!top_sure && meets(unknown, on_top_low, on_top_high)) {
    if (why_not != nullptr) {
      reason.reason = Reason::kUncertain;
      reason.figure = 0.0;
      reason.limit = parameters_.confidence_min;
      reason.text = "the space on top of it was not seen: something may rest there";
      *why_not = reason;
    }
    return;
  }
  const size_t before = grasps->size();
  double best_margin = 0.0;
  double load_mass = 0.0;
  if (front_seen && blockers.empty() && !front_unknown) {
    Grasp grasp;
    if (hold(graph, slots, -Vec3::UnitX(), &grasp)) {
      best_margin = std::max(best_margin, grasp.holding_margin);
      load_mass = grasp.mass;
      if (grasp.holding_margin >= gripper_.safety_factor && grasp.mass <= arm_.payload_kg) {
        const Vec3 above_low(low.x() - pull, low.y(), high.z() - 1e-3);
        const Vec3 above_high(high.x(), high.y(), high.z() + parameters_.lift_m + kOverlap_m);
        // The wrist behind the pad reaches higher than a low carton at the roof does.
        const bool room = high.z() + parameters_.lift_m + kWristUnderRoof_m < graph.trailer().height_m;
        if (!carries && room && inside(graph, above_low, above_high, slots).empty()) {
          offer(grasp, Stroke::kLiftPull, parameters_.lift_m, 0.0, parameters_.pull_speed_mps);
        }
        offer(grasp, Stroke::kFrontPull, 0.0, 0.0, parameters_.pull_speed_mps);
        offer(grasp, Stroke::kSlowPull, 0.0, 0.0, parameters_.slow_pull_speed_mps);
        if (!carries) {
          offer(grasp, Stroke::kTiltPull, 0.0, parameters_.tilt_rad, parameters_.slow_pull_speed_mps);
        }
      }
    }
  }
  if (top_seen && !carries) {
    const double headroom = graph.trailer().height_m - high.z();
    Grasp grasp;
    if (headroom > kHeadroom_m && hold(graph, slots, Vec3::UnitZ(), &grasp)) {
      best_margin = std::max(best_margin, grasp.holding_margin);
      load_mass = grasp.mass;
      double lift = parameters_.lift_m;
      if (!blockers.empty()) {
        double top = 0.0;
        for (const int32_t slot : blockers) {
          top = std::max(top, graph.high(slot).z());
        }
        lift = top - low.z() + parameters_.lift_m + kOverFront_m;
      }
      const Vec3 rise_low(low.x() - pull, low.y(), high.z());
      const Vec3 rise_high(high.x(), high.y(), high.z() + lift + kOverlap_m);
      const bool clear = high.z() + lift + 0.3 < graph.trailer().height_m &&
                         inside(graph, Vec3(low.x(), low.y(), high.z()), rise_high, slots).empty() &&
                         !meets(unknown, rise_low, rise_high) && !front_unknown;
      if (clear && grasp.holding_margin >= gripper_.safety_factor && grasp.mass <= arm_.payload_kg) {
        offer(grasp, Stroke::kTopPick, lift, 0.0, parameters_.pull_speed_mps);
      }
    }
  }
  if (grasps->size() != before || why_not == nullptr) {
    return;
  }
  std::ostringstream text;
  if (best_margin > 0.0 && (best_margin < gripper_.safety_factor || load_mass > arm_.payload_kg)) {
    reason.reason = Reason::kTooHeavy;
    reason.figure = load_mass;
    reason.limit = load_mass > arm_.payload_kg ? arm_.payload_kg : load_mass * best_margin / gripper_.safety_factor;
    text << "weighs " << load_mass << " kg; the best hold carries " << reason.limit << " kg";
  } else if (!blockers.empty() || carries) {
    reason.reason = Reason::kBlocked;
    for (const int32_t slot : blockers) {
      reason.because_of.push_back(graph.box(slot).id);
    }
    for (const int32_t slot : slots) {
      for (const int32_t other : burdens(graph, slot, slots)) {
        const uint32_t id = graph.box(other).id;
        if (std::find(reason.because_of.begin(), reason.because_of.end(), id) == reason.because_of.end()) {
          reason.because_of.push_back(id);
        }
      }
    }
    reason.figure = static_cast<double>(reason.because_of.size());
    text << reason.because_of.size() << " cartons stand in front of it or on it";
  } else {
    reason.reason = Reason::kNoGrasp;
    reason.figure = best_margin;
    reason.limit = gripper_.safety_factor;
    text << (front_unknown ? "its way out leads through space that was not seen" : "no seen face can be held");
  }
  reason.text = text.str();
  *why_not = reason;
}

void GraspFinder::find(const ContactGraph& graph, int32_t slot, const std::vector<std::pair<Vec3, Vec3>>& unknown,
                       std::vector<Grasp>* grasps, Rejection* why_not) const {
  strokes(graph, {slot}, unknown, grasps, why_not);
}

void GraspFinder::find_groups(const ContactGraph& graph, int32_t slot,
                              const std::vector<std::pair<Vec3, Vec3>>& unknown, std::vector<Grasp>* grasps) const {
  const auto most = static_cast<size_t>(std::clamp(parameters_.max_group, 1, Grasp::kMaxIds));
  // Each group once: from its first box on, by those that touch it. Neighbours along x cannot be held by one pad.
  std::vector<std::vector<int32_t>> groups{{slot}};
  for (size_t g = 0; g < groups.size() && groups[g].size() < most; ++g) {
    const std::vector<int32_t> group = groups[g];
    for (const int32_t member : group) {
      for (const int32_t index : graph.patches_of(member)) {
        const Patch& patch = graph.patches()[static_cast<size_t>(index)];
        const int32_t other = patch.a == member ? patch.b : patch.a;
        if (other <= slot || std::abs(patch.normal.x()) > 0.5 ||
            std::find(group.begin(), group.end(), other) != group.end()) {
          continue;
        }
        std::vector<int32_t> larger = group;
        larger.insert(std::upper_bound(larger.begin(), larger.end(), other), other);
        if (std::find(groups.begin(), groups.end(), larger) != groups.end() || !fills_its_front(graph, larger)) {
          continue;
        }
        // What cannot be held without a carton cannot be held with it.
        const size_t before = grasps->size();
        strokes(graph, larger, unknown, grasps, nullptr);
        if (grasps->size() != before) {
          groups.push_back(std::move(larger));
        }
      }
    }
  }
}

}  // namespace lumper_core
