#include "poses.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

// The places here are those of src/limbwise/skeleton.py (BODY), which are OpenPose's.
const std::array<const char*, KEYPOINTS> NAMES = {
    "nose",        "neck",       "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
    "left_elbow",  "left_wrist", "right_hip",      "right_knee",  "right_ankle", "left_hip",
    "left_knee",   "left_ankle", "right_eye",      "left_eye",    "right_ear",   "left_ear"};
// Where each of COCO's keypoints has its place among these; the neck is the shoulders' middle.
static const int OF_COCO[17] = {0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10};
static const int NECK = 1, SHOULDERS[2] = {5, 2};
// OKS sigmas of COCO (cocodataset.org/#keypoints-eval).
static const double SIGMAS[KEYPOINTS] = {.026, .079, .079, .072, .062, .079, .072, .062, .107,
                                         .087, .089, .107, .087, .089, .025, .025, .035, .035};
// Limbs and their lengths in parts of the body's height (src/limbwise/proportions.py).
struct Limb {
    int start, end;
    double length;
};
static const Limb LIMBS[] = {
    {1, 8, .31},  {8, 9, .25},   {9, 10, .25},  {1, 11, .31},  {11, 12, .25}, {12, 13, .25},
    {1, 2, .13},  {2, 3, .19},   {3, 4, .15},   {1, 5, .13},   {5, 6, .19},   {6, 7, .15},
    {1, 0, .12},  {0, 14, .04},  {0, 15, .04},  {14, 16, .06}, {15, 17, .06}};

static const size_t CANDIDATES = 400, MAX_PEOPLE = 30;
static const float MIN_BOX = 0.3f, MAX_IOU = 0.6f;  // of boxes
static const float MIN_SCORE = 0.15f, SAME = 0.75f;  // of people
static const float LEAST = 0.1f, SURE = 0.2f;  // of keypoints
static const double BOX_AREA = 0.53;  // of a person's box, what OKS takes the area to be

static float iou(const Box& a, const Box& b) {
    float width = std::min(a.right, b.right) - std::max(a.left, b.left);
    float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
    float inner = std::max(width, 0.f) * std::max(height, 0.f);
    return inner / float(a.area() + b.area() - inner);
}

std::vector<Box> find_boxes(const float* boxes, int count) {
    std::vector<Box> sure, kept;
    for (const float* row = boxes; row < boxes + 5 * count; row += 5) {
        bool whole = std::all_of(row, row + 5, [](float each) { return std::isfinite(each); });
        if (whole && row[4] >= MIN_BOX && row[0] < row[2] && row[1] < row[3])
            sure.push_back({row[0], row[1], row[2], row[3], row[4]});
    }
    std::stable_sort(sure.begin(), sure.end(),
                     [](const Box& a, const Box& b) { return a.score > b.score; });
    sure.resize(std::min(sure.size(), CANDIDATES));
    for (const Box& box : sure) {
        bool known = std::any_of(kept.begin(), kept.end(),
                                 [&](const Box& other) { return iou(box, other) > MAX_IOU; });
        if (!known && kept.size() < MAX_PEOPLE) kept.push_back(box);
    }
    return kept;
}

Box in_picture(const Box& box, const View& view, cv::Size picture) {
    auto low = view.back(box.left, box.top), high = view.back(box.right, box.bottom);
    float width = picture.width - 0.5f, height = picture.height - 0.5f;
    return {std::clamp(low.x, -0.5f, width), std::clamp(low.y, -0.5f, height),
            std::clamp(high.x, -0.5f, width), std::clamp(high.y, -0.5f, height), box.score};
}

// A cell's offset along an axis to the top of the parabola through the logarithms, within half a
// cell (src/limbwise/decode.py, _offsets).
struct Axis {
    float two_before, before, here, after, two_after;

    static double log(float value) { return std::log(double(std::max(value, 1e-6f))); }

    double curvature() const {
        if (std::isinf(std::min(before, after))) return 0;
        return 2 * log(here) - log(before) - log(after);
    }

    double offset(double roundest) const {
        double top = (log(after) - log(before)) / (2 * std::max(curvature(), 1e-6));
        if (two_after >= after) top = (log(here) - log(before)) / roundest - 0.5;
        if (two_before >= before) top = (log(after) - log(here)) / roundest + 0.5;
        return std::clamp(top, -0.5, 0.5);
    }
};

// The highest place of a heatmap, in cells, and its height.
static Keypoint highest(const float* map, const Cells& cells) {
    int place = int(std::max_element(map, map + cells.rows * cells.columns) - map);
    int row = place / cells.columns, column = place % cells.columns;
    auto at = [&](int y, int x) {
        bool inside = y >= 0 && y < cells.rows && x >= 0 && x < cells.columns;
        return inside ? map[y * cells.columns + x] : -std::numeric_limits<float>::infinity();
    };
    Axis x{at(row, column - 2), at(row, column - 1), at(row, column), at(row, column + 1),
           at(row, column + 2)};
    Axis y{at(row - 2, column), at(row - 1, column), at(row, column), at(row + 1, column),
           at(row + 2, column)};
    double roundest = std::max(x.curvature(), y.curvature());
    if (roundest <= 0) roundest = 64.0 / 49;
    return {float(column + x.offset(roundest)), float(row + y.offset(roundest)), map[place]};
}

Pose read_pose(const float* heatmaps, const Cells& cells, const View& view, const Box& box,
               cv::Size picture) {
    Pose pose{{}, 0, BOX_AREA * box.area()};
    float reach = 0.35f * std::max(box.right - box.left, box.bottom - box.top);
    cv::Point2f low(std::max(box.left - reach, -0.5f), std::max(box.top - reach, -0.5f));
    cv::Point2f high(std::min(box.right + reach, picture.width - 0.5f),
                     std::min(box.bottom + reach, picture.height - 0.5f));
    float sum = 0;
    int sure = 0;
    for (int k = 0; k < 17; ++k) {
        Keypoint top = highest(heatmaps + k * cells.rows * cells.columns, cells);
        auto place = view.back(float(top.x * cells.stride + cells.first),
                               float(top.y * cells.stride + cells.first));
        float confidence = std::clamp(top.confidence, 0.f, 1.f);
        if (confidence > SURE) sum += confidence, ++sure;
        bool inside =
            place.x >= low.x && place.x <= high.x && place.y >= low.y && place.y <= high.y;
        if (confidence >= LEAST && inside)
            pose.keypoints[OF_COCO[k]] = {place.x, place.y, confidence};
    }
    float mean = sure ? sum / sure : 0;
    pose.score = mean * mean * box.score;
    return pose;
}

// Object keypoint similarity over COCO's keypoints that both have.
static double oks(const Pose& pose, const Pose& other) {
    double total = 0;
    int both = 0;
    for (int k : OF_COCO) {
        const Keypoint &a = pose.keypoints[k], &b = other.keypoints[k];
        if (a.confidence == 0 || b.confidence == 0) continue;
        double x = a.x - b.x, y = a.y - b.y, variance = 4 * SIGMAS[k] * SIGMAS[k];
        total += std::exp(-(x * x + y * y) / (2 * variance * std::max(pose.area, 1e-6)));
        ++both;
    }
    return total / std::max(both, 1);
}

static void add_neck(Pose& pose) {
    const Keypoint &left = pose.keypoints[SHOULDERS[0]], &right = pose.keypoints[SHOULDERS[1]];
    if (left.confidence > 0 && right.confidence > 0)
        pose.keypoints[NECK] = {(left.x + right.x) / 2, (left.y + right.y) / 2,
                                std::min(left.confidence, right.confidence)};
}

// Without the less sure end of each limb that is far longer than the others say.
static void cut_impossible(Pose& pose) {
    auto size = [&](const Limb& limb) {
        const Keypoint &a = pose.keypoints[limb.start], &b = pose.keypoints[limb.end];
        bool both = a.confidence > 0 && b.confidence > 0;
        return both ? std::hypot(double(b.x - a.x), double(b.y - a.y)) / limb.length : 0;
    };
    std::vector<double> sizes;
    for (const Limb& limb : LIMBS)
        if (std::min(pose.keypoints[limb.start].confidence, pose.keypoints[limb.end].confidence) >
            SURE)
            sizes.push_back(size(limb));
    if (sizes.size() < 4) return;
    std::sort(sizes.begin(), sizes.end());
    double place = 0.75 * (sizes.size() - 1);
    size_t below = size_t(place);
    double quartile = sizes[below];
    if (below + 1 < sizes.size())
        quartile += (place - below) * (sizes[below + 1] - sizes[below]);
    std::vector<int> lost;
    for (const Limb& limb : LIMBS)
        if (size(limb) > 3 * quartile)
            lost.push_back(pose.keypoints[limb.start].confidence <
                                   pose.keypoints[limb.end].confidence
                               ? limb.start
                               : limb.end);
    for (int k : lost) pose.keypoints[k] = {};
}

std::vector<Pose> distinct(std::vector<Pose> poses) {
    std::stable_sort(poses.begin(), poses.end(),
                     [](const Pose& a, const Pose& b) { return a.score > b.score; });
    std::vector<Pose> kept;
    for (Pose& pose : poses) {
        bool found = std::any_of(pose.keypoints.begin(), pose.keypoints.end(),
                                 [](const Keypoint& each) { return each.confidence > 0; });
        bool known = std::any_of(kept.begin(), kept.end(),
                                 [&](const Pose& other) { return oks(pose, other) > SAME; });
        if (found && !known) kept.push_back(pose);
    }
    kept.erase(std::remove_if(kept.begin(), kept.end(),
                              [](const Pose& pose) { return pose.score < MIN_SCORE; }),
               kept.end());
    for (Pose& pose : kept) add_neck(pose), cut_impossible(pose);
    return kept;
}
