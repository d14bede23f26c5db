#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "lumper_core/plan.hpp"

namespace {

std::atomic<long> allocations{0};

}  // namespace

// Every allocation of this program is counted: the hot loop promises to make none. Not inlined, or GCC takes malloc and
// free here for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) {
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace lumper_core {
namespace {

Box make(uint32_t id, Vec3 position, Vec3 size, double mass = 10.0) {
  Box box;
  box.id = id;
  box.position = position;
  box.size = size;
  box.mass = mass;
  return box;
}

struct World {
  explicit World(const std::vector<Box>& boxes, StaticsParameters parameters = {})
      : graph({}, parameters), statics(graph) {
    for (const Box& box : checked(boxes, parameters, nullptr)) {
      graph.add(box);
    }
    statics.update();
  }
  Removal without(uint32_t id) { return statics.analyse({graph.slot_of(id)}); }
  std::string proof(uint32_t id) { return check(graph, statics.certify({graph.slot_of(id)})); }
  ContactGraph graph;
  Statics statics;
};

const Vec3 kCube(0.4, 0.4, 0.4);

TEST(Contacts, FaceOnFaceIsTheExactOverlap) {
  const Patch patch = box_contact(make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.1, 0.1, 0.6}, kCube), {}, nullptr);
  ASSERT_EQ(patch.count, 4);
  EXPECT_TRUE(patch.support);
  double low_x = 1e9;
  double high_x = -1e9;
  for (int k = 0; k < 4; ++k) {
    low_x = std::min(low_x, patch.points[static_cast<size_t>(k)].x());
    high_x = std::max(high_x, patch.points[static_cast<size_t>(k)].x());
  }
  EXPECT_NEAR(low_x, 4.9, 1e-9);
  EXPECT_NEAR(high_x, 5.2, 1e-9);
}

TEST(Contacts, TouchingAlongAnEdgeOnlyCarriesNothing) {
  EXPECT_EQ(box_contact(make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.8, 0.6}, kCube), {}, nullptr).count, 0);
}

TEST(Contacts, ALeaningBoxTouchesAlongALine) {
  Box leaning = make(2, {5.0, 0.0, 0.0}, {0.2, 0.4, 0.6});
  const double tilt = 0.3;
  leaning.orientation = Quaternion(Eigen::AngleAxisd(tilt, Vec3::UnitY()));
  leaning.position.z() = 0.5 * (0.6 * std::cos(tilt) + 0.2 * std::sin(tilt));
  std::vector<Patch> patches;
  environment_contacts(leaning, 0, {}, {}, &patches);
  ASSERT_EQ(patches.size(), 1U);
  for (int k = 1; k < patches[0].count; ++k) {
    EXPECT_NEAR(patches[0].points[0].x(), patches[0].points[static_cast<size_t>(k)].x(), 0.02);
  }
}

TEST(Contacts, PoseUncertaintyShrinksTheSupport) {
  Box upper = make(2, {5.0, 0.0, 0.6}, kCube);
  upper.pose_sigma[0] = upper.pose_sigma[1] = 0.01;
  Box lower = make(1, {5.0, 0.0, 0.2}, kCube);
  lower.pose_sigma = upper.pose_sigma;
  const Patch patch = box_contact(lower, upper, {}, nullptr);
  for (int k = 0; k < patch.count; ++k) {
    EXPECT_LT(std::abs(patch.points[static_cast<size_t>(k)].y()), 0.1801);
  }
}

TEST(Statics, TopOfAStackCanGoAndTheRestCannot) {
  World world({make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.0, 0.6}, kCube), make(3, {5.0, 0.0, 1.0}, kCube)});
  EXPECT_EQ(world.statics.standing().verdict, Verdict::kStable);
  EXPECT_EQ(world.without(3).verdict, Verdict::kStable);
  const Removal bottom = world.without(1);
  EXPECT_EQ(bottom.verdict, Verdict::kCollapses);
  EXPECT_NEAR(bottom.acceleration, kGravity, 1e-6);
  EXPECT_EQ(bottom.falls.size(), 2U);
  for (const uint32_t id : {1U, 2U, 3U}) {
    EXPECT_EQ(world.proof(id), "");
  }
}

TEST(Statics, ABeamOnThreePostsStandsOnTwo) {
  World world({make(1, {5.0, -0.5, 0.2}, {0.3, 0.3, 0.4}), make(2, {5.0, 0.0, 0.2}, {0.3, 0.3, 0.4}),
               make(3, {5.0, 0.5, 0.2}, {0.3, 0.3, 0.4}), make(4, {5.0, 0.0, 0.5}, {0.3, 1.3, 0.2})});
  EXPECT_EQ(world.without(2).verdict, Verdict::kStable);
  EXPECT_EQ(world.without(1).verdict, Verdict::kStable);
  EXPECT_EQ(world.proof(2), "");
}

TEST(Statics, ACounterweightThatGoesLetsTheBeamTip) {
  World world({make(1, {5.0, 0.0, 0.2}, {0.3, 0.3, 0.4}), make(2, {5.0, 0.25, 0.5}, {0.3, 1.0, 0.2}, 5.0),
               make(3, {5.0, -0.1, 0.8}, {0.3, 0.2, 0.4}, 30.0)});
  ASSERT_EQ(world.statics.standing().verdict, Verdict::kStable);
  const Removal removal = world.without(3);
  EXPECT_EQ(removal.verdict, Verdict::kCollapses);
  EXPECT_EQ(world.proof(3), "");
}

TEST(Statics, SideWallsDoNotCarry) {
  // Squeezed between two others without a support of its own once the lower one is gone.
  World world({make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.0, 0.6}, kCube),
               make(3, {5.0, 0.403, 0.6}, {0.4, 0.4, 1.2}), make(4, {5.0, -0.403, 0.6}, {0.4, 0.4, 1.2})});
  EXPECT_EQ(world.without(1).verdict, Verdict::kCollapses);
}

TEST(Statics, WhatHangsInTheAirAlreadyIsNotBlamedOnARemoval) {
  World world({make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.0, 1.5}, kCube)});
  EXPECT_EQ(world.statics.standing().verdict, Verdict::kCollapses);
  EXPECT_EQ(world.without(1).verdict, Verdict::kStable);
}

/// Courses of cartons in half bond, `noise_m` of it known.
std::vector<Box> bond(int courses, double noise_m) {
  std::vector<Box> boxes;
  for (int course = 0; course < courses; ++course) {
    for (int k = 0; k < 4; ++k) {
      boxes.push_back(make(static_cast<uint32_t>(boxes.size() + 1),
                           {5.0, -0.6 + 0.403 * k + (course % 2) * 0.2, 0.2 + 0.4 * course}, kCube));
      boxes.back().pose_sigma = {noise_m, noise_m, 0.4 * noise_m, 0.0, 0.0, 0.0};
    }
  }
  return boxes;
}

TEST(Statics, JudgingAgainAllocatesNothingButTheAnswer) {
  World world(bond(5, 0.0));
  const std::vector<Load> none;
  std::vector<std::vector<int32_t>> loads;
  for (size_t s = 0; s < world.graph.slots(); ++s) {
    loads.push_back({static_cast<int32_t>(s)});
    world.statics.analyse(loads.back(), none);
  }
  int stable = 0;
  int falling = 0;
  for (const std::vector<int32_t>& load : loads) {
    const long before = allocations;
    const Removal removal = world.statics.analyse(load, none);
    const bool falls = removal.verdict == Verdict::kCollapses;
    EXPECT_LE(allocations - before, falls ? 1 : 0) << "slot " << load[0];
    ++(falls ? falling : stable);
  }
  EXPECT_GT(stable, 0);
  EXPECT_GT(falling, 0);
}

TEST(Check, VerifyingAtRunTimeChangesNoTrueVerdict) {
  StaticsParameters parameters;
  parameters.verify = true;
  World plain(bond(4, 0.0));
  World verified(bond(4, 0.0), parameters);
  for (uint32_t id = 1; id <= 16; ++id) {
    const Removal removal = verified.without(id);
    EXPECT_EQ(removal.verdict, plain.without(id).verdict) << id;
    EXPECT_EQ(removal.certificate, plain.without(id).certificate) << id;
  }
}

TEST(Check, ATamperedCertificateIsRefused) {
  World world({make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.0, 0.6}, kCube), make(3, {5.0, 0.0, 1.0}, kCube)});
  Certificate stable = world.statics.certify({world.graph.slot_of(3)});
  for (Vec3& force : stable.forces) {
    force *= 1.01;
  }
  EXPECT_NE(check(world.graph, stable), "");
  Certificate falling = world.statics.certify({world.graph.slot_of(1)});
  for (Vec6& direction : falling.direction) {
    direction = -direction;
  }
  EXPECT_NE(check(world.graph, falling), "");
  falling.removal.verdict = Verdict::kStable;
  EXPECT_NE(check(world.graph, falling), "");
}

TEST(Input, EveryBadFieldIsNamed) {
  const auto field_of = [](Box box) -> std::string {
    try {
      checked({box}, {}, nullptr);
    } catch (const InputError& error) {
      EXPECT_EQ(error.box_id, box.id);
      return error.field;
    }
    return "";
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Box box = make(7, {5.0, 0.0, 0.2}, kCube);
  EXPECT_EQ(field_of(box), "");
  Box bad = box;
  bad.position.x() = nan;
  EXPECT_EQ(field_of(bad), "position");
  bad = box;
  bad.size.y() = -0.1;
  EXPECT_EQ(field_of(bad), "size");
  bad = box;
  bad.size.z() = 0.0;
  EXPECT_EQ(field_of(bad), "size");
  bad = box;
  bad.orientation.coeffs() *= 1.1;
  EXPECT_EQ(field_of(bad), "orientation");
  bad = box;
  bad.mass = 0.0;
  EXPECT_EQ(field_of(bad), "mass");
  bad = box;
  bad.confidence = 1.5;
  EXPECT_EQ(field_of(bad), "confidence");
  bad = box;
  bad.pose_sigma[3] = -1.0;
  EXPECT_EQ(field_of(bad), "pose_sigma");
  EXPECT_THROW(checked({box, box}, {}, nullptr), InputError);
  EXPECT_THROW(checked(std::vector<Box>(10000, box), {}, nullptr), InputError);
}

/// A request from this place of the base, m, with time enough.
PlanRequest seen_from(double base_x) {
  PlanRequest request;
  request.base.x = base_x;
  request.budget_s = 10.0;
  return request;
}

Plan planned(const std::vector<Box>& boxes, const PlanRequest& request) {
  return Planner({}, {}, {}, {}, {}, {}).plan(boxes, request);
}

TEST(Plan, AnEmptyWallIsDone) {
  const Plan plan = planned({}, {});
  EXPECT_EQ(plan.outcome, PlanOutcome::kNone);
  EXPECT_TRUE(plan.picks.empty());
}

TEST(Plan, EveryCartonIsPickedOrExplained) {
  std::vector<Box> boxes;
  for (uint32_t i = 0; i < 12; ++i) {
    boxes.push_back(make(i + 1, {5.0, -0.8 + 0.41 * (i % 4), 0.2 + 0.4 * (i / 4)}, kCube, 8.0));
  }
  const Plan plan = planned(boxes, seen_from(3.0));
  ASSERT_FALSE(plan.picks.empty());
  EXPECT_GT(plan.picks[0].grasp.position.z(), 0.7);
  size_t named = plan.rejected.size();
  for (const Pick& pick : plan.picks) {
    named += static_cast<size_t>(pick.grasp.count);
    EXPECT_GT(pick.grasp.zones, 0U);
    // The cups look into the carton.
    const Vec3 into = pick.grasp.orientation * Vec3::UnitZ();
    EXPECT_GT(into.x() - into.z(), 0.9);
  }
  EXPECT_EQ(named, boxes.size());
  for (const Rejection& rejection : plan.rejected) {
    EXPECT_FALSE(rejection.text.empty());
  }
}

TEST(Plan, SkippedFailedAndDoubtfulCartonsAreNotTaken) {
  std::vector<Box> boxes = {make(1, {5.0, -0.6, 0.2}, kCube), make(2, {5.0, 0.0, 0.2}, kCube),
                            make(3, {5.0, 0.6, 0.2}, kCube)};
  boxes[2].confidence = 0.1;
  PlanRequest request = seen_from(3.0);
  request.skip = {1};
  request.failed[2] = 2;
  const Plan plan = planned(boxes, request);
  EXPECT_EQ(plan.outcome, PlanOutcome::kNoRemovableCarton);
  ASSERT_EQ(plan.rejected.size(), 3U);
  EXPECT_EQ(plan.rejected[0].reason, Reason::kSkippedByPerson);
  EXPECT_EQ(plan.rejected[1].reason, Reason::kFailedBefore);
  EXPECT_EQ(plan.rejected[2].reason, Reason::kUncertain);
}

TEST(Plan, WhatSomethingLeansAgainstStays) {
  // Leans back against the tall one; both tops can be reached.
  Box leaning = make(2, {0.0, 0.0, 0.0}, {0.16, 0.3, 0.5}, 4.0);
  const double tilt = 0.4;
  leaning.orientation = Quaternion(Eigen::AngleAxisd(tilt, Vec3::UnitY()));
  leaning.position.x() = 4.8 - 0.5 * (0.16 * std::cos(tilt) + 0.5 * std::sin(tilt));
  leaning.position.z() = 0.5 * (0.5 * std::cos(tilt) + 0.16 * std::sin(tilt));
  leaning.size_unknown = 1;
  const std::vector<Box> boxes = {make(1, {5.0, 0.0, 0.3}, {0.4, 0.4, 0.6}), leaning};
  PlanRequest request = seen_from(3.3);
  const Plan free = planned(boxes, request);
  ASSERT_FALSE(free.picks.empty());
  EXPECT_EQ(free.picks[0].grasp.ids[0], 2U);
  // Too slender to stand on the belt: laid square on its back, the held face up. Its depth is not known, but the floor
  // is.
  const Grasp& taken = free.picks[0].grasp;
  EXPECT_NEAR(taken.place_position.z(), 0.08, 1e-6);
  EXPECT_LT((taken.place_orientation * taken.load_orientation.conjugate() * Vec3::UnitZ()).z(), -0.999);
  request.skip = {2};
  const Plan plan = planned(boxes, request);
  EXPECT_TRUE(plan.picks.empty());
  for (const Rejection& rejection : plan.rejected) {
    if (rejection.carton_id == 1) {
      EXPECT_EQ(rejection.reason, Reason::kBlocked);
      EXPECT_EQ(rejection.because_of, std::vector<uint32_t>{2});
    }
  }
}

TEST(Plan, AThinCartonUnderTheRoofIsHeldAboveALedge) {
  // The one below stands out 0.1 m: the pad, twice as high as the face, must come just above it.
  const std::vector<Box> boxes = {make(1, {5.0, 0.0, 1.05}, {0.4, 0.4, 2.1}, 20.0),
                                  make(2, {5.05, 0.0, 2.175}, {0.3, 0.2, 0.15}, 1.5)};
  const Plan plan = planned(boxes, seen_from(3.3));
  ASSERT_FALSE(plan.picks.empty());
  EXPECT_EQ(plan.picks[0].grasp.ids[0], 2U);
  EXPECT_LT((plan.picks[0].grasp.orientation * Vec3::UnitZ()).z(), 0.1);
  EXPECT_GT(plan.picks[0].grasp.position.z(), 2.25);
}

/// What is planned for a carton when another, which is not to be taken, reaches into its way out by `beside_m`.
Plan past_a_corner(double beside_m) {
  const std::vector<Box> boxes = {make(1, {5.5, 0.0, 1.2}, kCube),
                                  make(2, {5.05, -0.4 + beside_m, 1.2}, {0.4, 0.4, 0.4})};
  PlanRequest request = seen_from(3.6);
  request.skip = {2};
  return planned(boxes, request);
}

TEST(Plan, WhatReachesIntoTheWayOutIsNoMoreThanBrushed) {
  const Plan brushed = past_a_corner(0.003);
  ASSERT_FALSE(brushed.picks.empty());
  EXPECT_EQ(brushed.picks[0].grasp.stroke, Stroke::kLiftPull);
  // Pulled past it the other would be pushed over: it is lifted over that one, with room to spare.
  const Plan over = past_a_corner(0.008);
  ASSERT_FALSE(over.picks.empty());
  EXPECT_EQ(over.picks[0].grasp.stroke, Stroke::kTopPick);
  EXPECT_GE(over.picks[0].grasp.lift, 0.4 + 0.045);
}

TEST(Plan, OnlyAnUnknownDepthLengthensThePull) {
  std::vector<double> pulls_m;
  for (const uint8_t unknown : {uint8_t{0}, uint8_t{4}, uint8_t{1}}) {
    std::vector<Box> boxes = {make(1, {5.0, 0.0, 1.2}, kCube)};
    boxes[0].size_unknown = unknown;
    boxes[0].visible_faces = 1;
    const Plan plan = planned(boxes, seen_from(3.3));
    ASSERT_FALSE(plan.picks.empty());
    pulls_m.push_back(plan.picks[0].grasp.extract.norm());
  }
  EXPECT_DOUBLE_EQ(pulls_m[1], pulls_m[0]) << "the height is not along the pull";
  EXPECT_GT(pulls_m[2], pulls_m[0] + 0.1);
}

/// A column of which only fronts were seen: every depth is an assumption.
std::vector<Box> assumed_column() {
  std::vector<Box> boxes = {make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.0, 0.6}, kCube),
                            make(3, {5.0, 0.0, 1.0}, kCube)};
  for (Box& box : boxes) {
    box.size_unknown = 1;
    box.pose_sigma = {0.06, 0.002, 0.002, 0.001, 0.001, 0.001};
    box.size_sigma = {0.12, 0.003, 0.003};
  }
  return boxes;
}

TEST(Settle, APileThatStandsIsExplainedWithoutRelief) {
  World world(assumed_column());
  EXPECT_NE(world.statics.standing().verdict, Verdict::kStable) << "caution alone cannot explain it";
  settle(&world.graph, &world.statics);
  EXPECT_EQ(world.statics.standing().verdict, Verdict::kStable);
  for (const Vec6& relief : world.statics.relief()) {
    EXPECT_LT(relief.cwiseAbs().maxCoeff(), 1e-3);
  }
  EXPECT_EQ(world.without(3).verdict, Verdict::kStable);
  EXPECT_EQ(world.without(1).verdict, Verdict::kCollapses);
  for (uint32_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(world.proof(id), "") << id;
  }
}

TEST(Settle, CautionComesBackWithEveryPile) {
  World world(assumed_column());
  const auto points = [&world] {
    std::vector<int> counts;
    for (const Patch& patch : world.graph.patches()) {
      counts.push_back(patch.count + 10 * static_cast<int>(patch.trust));
    }
    return counts;
  };
  const std::vector<int> cautious = points();
  settle(&world.graph, &world.statics);
  EXPECT_NE(points(), cautious);
  world.graph.narrow();
  EXPECT_EQ(points(), cautious);
}

/// A plank on two posts, the second of which it overlaps by `overlap_m` only.
std::vector<Box> plank(double overlap_m, double noise_m) {
  const double reach = 0.4 + overlap_m;
  std::vector<Box> boxes = {make(1, {5.0, -0.2, 0.2}, kCube), make(2, {5.0, 0.8, 0.2}, kCube),
                            make(3, {5.0, 0.0, 0.5}, {0.4, 0.8, 0.2})};
  boxes[0].position.y() = -0.4 + 0.5 * reach;
  boxes[0].size.y() = reach;
  boxes[1].position.y() = 0.4 - overlap_m + 0.2;
  for (Box& box : boxes) {
    box.pose_sigma = {noise_m, noise_m, noise_m, 0.0, 0.0, 0.0};
  }
  return boxes;
}

TEST(Caution, ASupportCountsOnlyAsFarAsNoiseLeavesItSure) {
  // The plank's centre lies 30 mm over the first post: four sigma of 5 mm posts and planks, and two of 10 mm ones.
  World sure(plank(0.03, 0.005));
  settle(&sure.graph, &sure.statics);
  EXPECT_EQ(sure.without(2).verdict, Verdict::kStable);
  World unsure(plank(0.03, 0.01));
  settle(&unsure.graph, &unsure.statics);
  EXPECT_EQ(unsure.statics.standing().verdict, Verdict::kStable);
  EXPECT_EQ(unsure.without(2).verdict, Verdict::kCollapses);
}

TEST(Caution, ASliverThatNoiseMayHaveMadeUpCarriesNothing) {
  std::vector<Box> boxes = plank(0.05, 0.004);
  boxes[0].size.y() = 0.3;  // too short to hold the plank alone
  boxes[0].position.y() = -0.25;
  boxes.push_back(make(4, {5.0, -0.595, 0.2}, kCube));  // seen to reach 5 mm under the plank's end
  boxes.push_back(make(5, {5.0, 0.05, 0.2}, {0.4, 0.2, 0.4}));
  boxes[3].pose_sigma = boxes[4].pose_sigma = boxes[0].pose_sigma;
  World world(boxes);
  settle(&world.graph, &world.statics);
  EXPECT_EQ(world.statics.standing().verdict, Verdict::kStable);
  int doubtful = 0;
  for (const Patch& patch : world.graph.patches()) {
    doubtful += patch.doubtful ? 1 : 0;
    EXPECT_EQ(patch.trust, Trust::kSure);
  }
  EXPECT_EQ(doubtful, 1);
}

TEST(Caution, WhatStandsOnAnEdgeIsExplainedByItsOwnSupportNotByASliver) {
  // The plank is seen to overhang its only post by 4 mm too much, and to touch a neighbour by 3 mm.
  std::vector<Box> boxes = {make(1, {5.0, -0.204, 0.2}, kCube), make(2, {5.0, 0.597, 0.2}, kCube),
                            make(3, {5.0, 0.0, 0.5}, {0.4, 0.8, 0.2})};
  for (Box& box : boxes) {
    box.pose_sigma = {0.005, 0.005, 0.002, 0.0, 0.0, 0.0};
  }
  World world(boxes);
  settle(&world.graph, &world.statics);
  EXPECT_EQ(world.statics.standing().verdict, Verdict::kStable);
  EXPECT_EQ(world.without(2).verdict, Verdict::kStable);
  EXPECT_EQ(world.without(1).verdict, Verdict::kCollapses);
  EXPECT_EQ(world.proof(1), "");
}

TEST(Settle, OneSetWithoutBalanceDoesNotTakeTheRestAlong) {
  // Box 9 overhangs its support: what it lacks is relief, and the others are judged as if it were not there.
  World world({make(1, {5.0, -0.6, 0.2}, kCube), make(2, {5.0, -0.6, 0.6}, kCube), make(8, {5.0, 0.8, 0.2}, kCube),
               make(9, {4.7, 0.8, 0.6}, kCube)});
  settle(&world.graph, &world.statics);
  EXPECT_EQ(world.without(2).verdict, Verdict::kStable);
  EXPECT_EQ(world.without(1).verdict, Verdict::kCollapses);
  EXPECT_GT(world.statics.relief()[static_cast<size_t>(world.graph.slot_of(9))].cwiseAbs().maxCoeff(), 1.0);
}

TEST(Settle, WhatHasNothingSeenUnderItStandsOnSomethingUnseen) {
  // A column whose lowest carton is hidden: a wrench of fixed size under it would lift what is left without its top.
  World world({make(1, {5.0, 0.0, 0.6}, kCube), make(2, {5.0, 0.0, 1.0}, kCube), make(3, {5.0, 0.0, 1.4}, kCube)});
  settle(&world.graph, &world.statics);
  EXPECT_EQ(world.graph.warnings().size(), 1U);
  EXPECT_EQ(world.without(3).verdict, Verdict::kStable);
  EXPECT_EQ(world.without(1).verdict, Verdict::kCollapses);
  for (uint32_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(world.proof(id), "") << id;
  }
  world.graph.narrow();
  EXPECT_TRUE(world.graph.warnings().empty());
}

TEST(Settle, WhatLiesJustUnderABoxMayCarryIt) {
  World world({make(1, {5.0, 0.0, 0.2}, kCube), make(2, {5.0, 0.0, 0.65}, kCube)});
  settle(&world.graph, &world.statics);
  EXPECT_TRUE(world.graph.warnings().empty());
}

}  // namespace
}  // namespace lumper_core
