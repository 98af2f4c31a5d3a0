#include "geometry.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <opencv2/imgproc.hpp>

static const cv::Scalar GREY(128, 128, 128);
static const double MARGIN = 1.25;  // times a person's box is a crop
static const double LEAST = 0.05;   // pixels of the picture per pixel of a crop

static cv::Mat halved(const cv::Mat& picture) {
    cv::Mat half;
    cv::resize(picture, half, {picture.cols / 2, picture.rows / 2}, 0, 0, cv::INTER_AREA);
    return half;
}

std::pair<cv::Mat, View> letterbox(const cv::Mat& picture, int side, int multiple) {
    double scale = double(side) / std::max(picture.rows, picture.cols);
    cv::Size size(std::max(int(std::nearbyint(picture.cols * scale)), 1),
                  std::max(int(std::nearbyint(picture.rows * scale)), 1));
    cv::Mat small = picture;
    while (small.rows >= 2 * size.height && small.cols >= 2 * size.width) small = halved(small);
    cv::resize(small, small, size, 0, 0, cv::INTER_LINEAR);
    auto missing = [&](int length) { return (multiple - length % multiple) % multiple; };
    cv::copyMakeBorder(small, small, 0, missing(size.height), 0, missing(size.width),
                       cv::BORDER_CONSTANT, GREY);
    double x = double(size.width) / picture.cols, y = double(size.height) / picture.rows;
    return {small, {{x, y}, {0.5 * x - 0.5, 0.5 * y - 0.5}}};
}

View view_of(const Box& box, cv::Size size) {
    double extent = std::max({(double(box.right) - box.left) / size.width,
                              (double(box.bottom) - box.top) / size.height, LEAST / MARGIN});
    double scale = 1 / (MARGIN * extent);
    return {{scale, scale},
            {(size.width - 1) / 2.0 - scale * ((double(box.left) + box.right) / 2),
             (size.height - 1) / 2.0 - scale * ((double(box.top) + box.bottom) / 2)}};
}

// What `scale` times a picture and a shift show, between its pixels; grey outside. OpenCV before 5
// knows 32 places between two pixels only, which moves keypoints by hundredths of a pixel.
static void sample(const cv::Mat& picture, double scale, double x_shift, double y_shift,
                   cv::Mat& crop) {
    struct Between {
        int place;  // of the pixel before
        float share;  // of the pixel after
    };
    auto between = [&](int length, double shift) {
        std::vector<Between> row(length);
        for (int n = 0; n < length; ++n) {
            double place = (n - shift) / scale;
            row[n] = {int(std::floor(place)), float(place - std::floor(place))};
        }
        return row;
    };
    cv::Mat framed;  // with a pixel of grey all round
    cv::copyMakeBorder(picture, framed, 1, 1, 1, 1, cv::BORDER_CONSTANT, GREY);
    auto columns = between(crop.cols, x_shift), rows = between(crop.rows, y_shift);
    crop.setTo(GREY);
    for (int y = 0; y < crop.rows; ++y) {
        if (rows[y].place < -1 || rows[y].place >= picture.rows) continue;
        const uchar* above = framed.ptr(rows[y].place + 1);
        const uchar* below = framed.ptr(rows[y].place + 2);
        uchar* out = crop.ptr(y);
        for (int x = 0; x < crop.cols; ++x, out += 3) {
            if (columns[x].place < -1 || columns[x].place >= picture.cols) continue;
            int left = 3 * (columns[x].place + 1);
            for (int c = left; c < left + 3; ++c) {
                float high = above[c] + columns[x].share * (above[c + 3] - above[c]);
                float low = below[c] + columns[x].share * (below[c + 3] - below[c]);
                out[c - left] = uchar(high + rows[y].share * (low - high) + 0.5f);
            }
        }
    }
}

void cut(const cv::Mat& picture, const View& view, cv::Mat crop) {
    const int margin = 4;  // pixels of the crop, so that edges within the picture are not seen
    auto low = view.back(-margin, -margin);
    auto high = view.back(crop.cols + margin, crop.rows + margin);
    int left = std::clamp(int(std::floor(low.x)), 0, picture.cols - 1);
    int top = std::clamp(int(std::floor(low.y)), 0, picture.rows - 1);
    int right = std::clamp(int(std::ceil(high.x)), left + 1, picture.cols);
    int bottom = std::clamp(int(std::ceil(high.y)), top + 1, picture.rows);
    cv::Mat part = picture(cv::Rect(left, top, right - left, bottom - top));
    double scale = view.scale[0];
    double x = view.shift[0] + scale * left, y = view.shift[1] + scale * top;
    while (scale < 0.5 && std::min(part.rows, part.cols) > 1) {
        part = halved(part(cv::Rect(0, 0, part.cols & ~1, part.rows & ~1)));
        x += 0.5 * scale, y += 0.5 * scale, scale *= 2;
    }
    sample(part, scale, x, y, crop);
}
