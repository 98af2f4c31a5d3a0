// A film's poses as JSON lines, the same as `limbwise run FILM --no-track --json -`.
//
//     limbwise_film DETECTOR SECOND_STAGE FILM [THREADS] [f32|bf16] [SIZE]  > poses.jsonl
//
// Every thread takes the next frame, goes the whole way with it, and writes when it is its turn:
// no thread waits for a part of another's frame.

#include <cmath>
#include <condition_variable>
#include <exception>
#include <iostream>
#include <mutex>
#include <thread>

#include <nlohmann/json.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/videoio.hpp>

#include "estimator.hpp"

using json = nlohmann::ordered_json;

static double rounded(double value, double digits) {
    return std::nearbyint(value * digits) / digits;
}

static json person(const Pose& pose) {
    json box, keypoints;
    double left = INFINITY, top = INFINITY, right = -INFINITY, bottom = -INFINITY;
    for (int k = 0; k < KEYPOINTS; ++k) {
        const Keypoint& its = pose.keypoints[k];
        if (its.confidence == 0) {
            keypoints[NAMES[k]] = nullptr;
            continue;
        }
        double x = rounded(its.x, 100), y = rounded(its.y, 100);
        keypoints[NAMES[k]] = json::array({x, y, rounded(its.confidence, 10000)});
        left = std::min(left, x), top = std::min(top, y);
        right = std::max(right, x), bottom = std::max(bottom, y);
    }
    if (left <= right) box = json::array({left, top, right, bottom});
    return {{"id", nullptr}, {"score", rounded(pose.score, 10000)}, {"box", box},
            {"keypoints", keypoints}};
}

struct Frame {
    int index = 0;
    double time = 0;  // seconds
    cv::Mat picture;
};

// Reads one frame ahead, so that its size is known before any work begins.
class Film {
public:
    explicit Film(const std::string& path) : path(path), capture(path, cv::CAP_FFMPEG) {
        if (capture.isOpened()) read();
        if (ahead.picture.empty())
            throw BadInput(path + " cannot be opened as video: is it one, and all of it there?");
    }

    // The next frame, for whichever thread asks; false at the end.
    bool next(Frame& frame) {
        std::lock_guard<std::mutex> lock(mutex);
        if (ahead.picture.empty()) return false;
        frame = ahead;
        ++ahead.index;
        read();
        return true;
    }

    const std::string path;
    Frame ahead;

private:
    void read() {
        ahead.picture = cv::Mat();  // somebody may still look at the last one
        capture.read(ahead.picture);
        double now = capture.get(cv::CAP_PROP_POS_MSEC) / 1000;
        begin = ahead.index ? begin : now;
        ahead.time = now - begin;
    }

    cv::VideoCapture capture;
    std::mutex mutex;
    double begin = 0;
};

// Standard output, line by line in the order of the frames.
class Lines {
public:
    // False once any thread has failed.
    bool write(int index, const std::string& line) {
        std::unique_lock<std::mutex> lock(mutex);
        turn.wait(lock, [&] { return index == next || failed; });
        if (failed) return false;
        std::cout << line << '\n' << std::flush;
        ++next;
        turn.notify_all();
        return bool(std::cout);
    }

    void fail(std::exception_ptr why) {
        std::lock_guard<std::mutex> lock(mutex);
        failed = failed ? failed : why;
        turn.notify_all();
    }

    std::exception_ptr failed;

private:
    std::mutex mutex;
    std::condition_variable turn;
    int next = 0;
};

static void work(Film& film, Estimator& estimate, Lines& lines) try {
    for (Frame frame; film.next(frame);) {
        json people = json::array();
        for (const Pose& pose : estimate(frame.picture)) people.push_back(person(pose));
        json line = {{"source", film.path},
                     {"frame", frame.index},
                     {"time", rounded(frame.time, 1e6)},
                     {"width", frame.picture.cols},
                     {"height", frame.picture.rows},
                     {"people", people}};
        if (!lines.write(frame.index, line.dump())) return;
    }
} catch (...) {
    lines.fail(std::current_exception());
}

static void run(const std::vector<std::string>& words) {
    if (words.size() < 3 || words.size() > 6)
        throw BadInput("limbwise_film DETECTOR SECOND_STAGE FILM [THREADS] [f32|bf16] [SIZE]");
    int threads = words.size() > 3 ? std::atoi(words[3].c_str())
                                   : int(std::thread::hardware_concurrency());
    std::string precision = words.size() > 4 ? words[4] : "f32";
    if (threads < 1 || (precision != "f32" && precision != "bf16"))
        throw BadInput("THREADS is a number from 1, the precision f32 or bf16");
    int side = words.size() > 5 ? std::atoi(words[5].c_str()) : 0;  // 0: what the detector says
    if (words.size() > 5 && (side < 32 || side > 4096))
        throw BadInput("SIZE is a number from 32 to 4096");
    cv::setNumThreads(1);
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    Film film(words[2]);
    Pair pair(words[0], words[1], film.ahead.picture.size(), threads, precision, side);
    std::vector<Estimator> estimators;
    for (int n = 0; n < threads; ++n) estimators.emplace_back(pair);
    Lines lines;
    std::vector<std::thread> workers;
    for (Estimator& estimate : estimators)
        workers.emplace_back(work, std::ref(film), std::ref(estimate), std::ref(lines));
    for (std::thread& worker : workers) worker.join();
    if (lines.failed) std::rethrow_exception(lines.failed);
    if (!std::cout) throw BadInput("standard output could not be written");
}

int main(int count, char** words) try {
    run({words + 1, words + count});
} catch (const std::exception& error) {
    std::string line = error.what();
    std::cerr << "limbwise_film: " << line.substr(0, line.find('\n')) << '\n';
    return 2;
}
