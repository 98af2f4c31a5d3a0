#include "estimator.hpp"

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

// A model file with what it says of itself (docs/exports.md has the fields).
static std::pair<std::shared_ptr<ov::Model>, nlohmann::json> read(ov::Core& core,
                                                                  const std::string& path) {
    std::shared_ptr<ov::Model> model;
    try {
        model = core.read_model(path);
    } catch (const std::exception&) {
        throw BadInput(path + " is not a model that OpenVINO can read");
    }
    for (auto& place : {std::vector<std::string>{"framework", "limbwise"}, {"limbwise"}})
        if (model->has_rt_info(place))
            return {model, nlohmann::json::parse(model->get_rt_info<std::string>(place))};
    throw BadInput(path + " was not exported by limbwise: it does not say what it is");
}

Pair::Pair(const std::string& detector_file, const std::string& second_file, cv::Size size,
           int threads, const std::string& precision, int input_side) {
    ov::Core core;
    ov::AnyMap options = {ov::inference_num_threads(threads), ov::num_streams(threads),
                          ov::hint::enable_cpu_pinning(false),
                          ov::hint::inference_precision(precision == "bf16" ? ov::element::bf16
                                                                            : ov::element::f32)};
    const char* cache = std::getenv("LIMBWISE_CACHE");  // where compiled models are kept, if set
    if (cache && *cache) options.insert(ov::cache_dir(cache));
    auto compiled = [&](const ov::Model& model, int count, int rows, int columns) {
        auto own = model.clone();
        own->reshape({count, rows, columns, 3});
        return core.compile_model(own, "CPU", options);
    };
    auto [model, its] = read(core, detector_file);
    if (!its.value("boxes", false) || its.value("fit", "") != "side")
        throw BadInput(detector_file + " is not a detector of people");
    side = input_side ? input_side : int(its["height"]), multiple = its["multiple"];
    auto [second, seen] = read(core, second_file);
    if (!seen["crop"].is_array() || seen.value("prior", false) ||
        seen["skeleton"]["keypoints"].size() != 17)
        throw BadInput(second_file + " is not a second stage for boxes with COCO's keypoints");
    crop = {seen["crop"][1], seen["crop"][0]};
    first = seen["offset"].is_number() ? seen["offset"].get<double>()
                                       : (seen.value("stride", 4) - 1) / 2.0;
    cv::Mat input = letterbox(cv::Mat(size, CV_8UC3), side, multiple).first;
    detector = compiled(*model, 1, input.rows, input.cols);
    single = compiled(*second, 1, crop.height, crop.width);
    couple = compiled(*second, 2, crop.height, crop.width);
}

Estimator::Estimator(Pair& pair)
    : pair(pair), detect(pair.detector.create_infer_request()),
      single(pair.single.create_infer_request()), couple(pair.couple.create_infer_request()) {}

// A request's input as a picture.
static cv::Mat picture_of(ov::InferRequest& request, size_t number = 0) {
    ov::Tensor input = request.get_input_tensor();
    int rows = int(input.get_shape()[1]), columns = int(input.get_shape()[2]);
    return {rows, columns, CV_8UC3, input.data<uint8_t>() + number * rows * columns * 3};
}

std::vector<Pose> Estimator::operator()(const cv::Mat& picture) {
    auto [input, view] = letterbox(picture, pair.side, pair.multiple);
    input.copyTo(picture_of(detect));
    detect.infer();
    ov::Tensor said = detect.get_output_tensor();
    auto boxes = find_boxes(said.data<float>(), int(said.get_shape()[1]));
    for (Box& box : boxes) box = in_picture(box, view, picture.size());
    std::vector<Pose> poses;
    for (size_t begin = 0; begin < boxes.size();) {  // a pair takes less than two one by one
        size_t count = std::min<size_t>(2, boxes.size() - begin);
        ov::InferRequest& request = count == 2 ? couple : single;
        View views[2];
        for (size_t n = 0; n < count; ++n) {
            views[n] = view_of(boxes[begin + n], pair.crop);
            cut(picture, views[n], picture_of(request, n));
        }
        request.infer();
        ov::Tensor maps = request.get_output_tensor();
        int rows = int(maps.get_shape()[2]), columns = int(maps.get_shape()[3]);
        Cells cells{rows, columns, double(pair.crop.height) / rows, pair.first};
        for (size_t n = 0; n < count; ++n)
            poses.push_back(read_pose(maps.data<float>() + n * 17 * rows * columns, cells, views[n],
                                      boxes[begin + n], picture.size()));
        begin += count;
    }
    return distinct(poses);
}
