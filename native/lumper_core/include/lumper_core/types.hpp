#pragma once

#include <Eigen/Core>
#include <Eigen/Geometry>
#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

/// Which carton next, proved safe. SI units, trailer frame (x into the trailer, y left, z up, origin on the floor).
namespace lumper_core {

using Vec3 = Eigen::Vector3d;
using Mat3 = Eigen::Matrix3d;
using Vec6 = Eigen::Matrix<double, 6, 1>;
using Mat6 = Eigen::Matrix<double, 6, 6>;
using Quaternion = Eigen::Quaterniond;

inline constexpr double kGravity = 9.81;  // m/s^2

/// Bodies that are not boxes, as they appear in contacts.
enum Environment : int32_t { kFloor = -1, kLeftWall = -2, kRightWall = -3, kBackWall = -4, kUnseen = -5 };

/// Bits of Box::visible_faces, in the box's own axes.
enum Face : uint8_t { kNegX = 1, kPosX = 2, kNegY = 4, kPosY = 8, kNegZ = 16, kPosZ = 32 };

/// One carton as perceived.
struct Box {
  uint32_t id = 0;
  Vec3 position = Vec3::Zero();
  Quaternion orientation = Quaternion::Identity();
  Vec3 size = Vec3::Zero();
  uint8_t size_unknown = 0;
  std::array<double, 6> pose_sigma{};
  std::array<double, 3> size_sigma{};
  double mass = 0.0;
  double mass_sigma = 0.0;
  double friction = 0.3;
  double confidence = 1.0;
  uint8_t visible_faces = 0;
};

/// Inside of the trailer; open towards -x.
struct Trailer {
  double width_m = 2.5;
  double height_m = 2.7;
  double length_m = 7.0;
};

/// Contact model and limits of the equilibrium analysis; docs/planning-core.md says why these values.
struct StaticsParameters {
  double vertical_tolerance_m = 0.012;
  double side_tolerance_m = 0.012;
  double shrink_sigmas = 3.0;  ///< so far inside of its seen edges a support contact is sure to bear weight
  double doubt_sigmas = 2.0;   ///< a support contact narrower than this may not be there at all
  double support_friction = 0.3;
  double side_friction = 0.0;
  double max_penetration_m = 0.05;
  double max_boxes = 2000;
  double acceleration_threshold_mps2 = 0.05;
  double force_bound_n = 1e4;  ///< no generator of a contact point carries more: cartons crush before
  bool verify = false;         ///< check every certificate before its verdict is believed
};

/// Bad input: which box (where one is to blame), which field, and what to do about it.
class InputError : public std::invalid_argument {
 public:
  InputError(std::optional<uint32_t> which, std::optional<size_t> row, std::string name, const std::string& text)
      : std::invalid_argument(text), box_id(which), index(row), field(std::move(name)) {}
  std::optional<uint32_t> box_id;
  std::optional<size_t> index;
  std::string field;
};

enum class Verdict : uint8_t { kStable = 0, kCollapses = 1, kUndecided = 2 };

/// CPU time of this thread, seconds.
double thread_cpu_s();

/// FNV-1a over bytes; `hash` continues an earlier one.
uint64_t fnv1a(const void* data, size_t size, uint64_t hash = 0xcbf29ce484222325ULL);

/// Check every box and apply the stated repairs (quaternions within 1e-3 of unit are normalised; each repair is named
/// in `warnings`). Throws InputError naming box and field.
std::vector<Box> checked(std::vector<Box> boxes, const StaticsParameters& parameters,
                         std::vector<std::string>* warnings);

}  // namespace lumper_core
