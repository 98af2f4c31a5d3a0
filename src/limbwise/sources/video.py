"""Films and streams: every frame at its true time, turned upright, and whether all of it is there.

file or URL -> opened -> packets -> frames -> (H, W, 3) BGR and seconds
                             `-> _Watch: what is damaged, and up to where all is fine
"""

import errno
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ..errors import BadInput
from ..geometry import Image
from .image import cut_off

Report = Callable[[BadInput], None]
Shots = Generator[tuple[Image, float | None], None, None]  # with its time; a still has none

# FFmpeg also "opens" play lists and texts that name other files; only these are films. Of an
# address those of streams count, too.
_FILMS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,av1,ivf,flv,"
    "asf,ogg,wtv,mxf,mjpeg,nut,rm,dv,vob,yuv4mpegpipe,gif,apng,dirac,vc1,swf,mp3,flac,wav,aac"
)
_STREAMS = f"{_FILMS},hls,applehttp,dash,rtsp,rtp,sdp,rtmp,live_flv,mpjpeg,mpegtsraw,asf_o"

_INDEXED = ("mov", "matroska")  # containers
_LETTERS = {"ansi", "bintext", "xbin", "idf"}  # FFmpeg's decoders that paint text files


def film_shots(source: str | Path | Any, name: str, live: bool, report: Report) -> Shots:
    """The frames of a film with true times; of a live stream with the times they came at.

    A Path is a file, a str a URL, and else it is something to read from. A film that breaks off
    gives what it has, then goes to `report`.
    """
    with _opened(source, name) as (container, stream):
        # One thread a frame is fastest, but holds back as many frames as there are threads.
        stream.thread_type = "SLICE" if live else "AUTO"
        watch, start = _Watch(), 0.0
        for frame in _decoded(container, stream, watch):
            time = watch.frame(frame, stream)
            now = monotonic()
            start = start or now
            yield _upright(frame), now - start if live else time
        if not watch.shown:
            raise BadInput(f"{name} cannot be opened as video: no frame of it can be decoded")
        if live and watch.stopped:
            report(BadInput(f"{name} stopped after frame {watch.shown}: {watch.stopped}"))
        elif not live and not watch.complete(container):
            report(cut_off(name, watch.fine, watch.fine_time))


def film_length(path: Path) -> int | None:
    """How many frames its header promises, or its duration and rate; None if it says neither."""
    with _opened(path, str(path)) as (container, stream):
        seconds = (container.duration or 0) / av.time_base
        return stream.frames or round(seconds * float(stream.average_rate or 0)) or None


def cuttable_length(source: str | Path | Any) -> float:
    """Seconds of a film whose frames can be read from any second on; 0 of others: only these
    containers have an index by which FFmpeg finds a time exactly."""
    with _opened(source, str(source)) as (container, _):
        if any(form in container.format.name for form in _INDEXED):
            return float((container.duration or 0) / av.time_base)
        return 0.0


def film_piece(
    source: str | Path | Any, name: str, start: float, end: float | None, report: Report
) -> Shots:
    """The frames from `start` to before `end` (seconds since the first frame), with the times that
    `film_shots` gives them. Damage goes to `report` after the frames that can be decoded."""
    with _opened(source, name) as (container, stream):
        stream.thread_type = "AUTO"
        watch = _Watch()
        first = next(_decoded(container, stream, watch), None)
        if first is None or first.pts is None:
            raise BadInput(f"{name} cannot be opened as video: no frame of it can be decoded")
        begin = float(first.pts * stream.time_base)
        # Key frames are found by when they are decoded, which may be before they are shown.
        container.seek(int((begin + max(start - 1, 0)) / stream.time_base), stream=stream)
        for frame in _decoded(container, stream, watch):
            watch.frame(frame, stream)
            time = float((frame.pts or 0) * stream.time_base) - begin
            if end is not None and time >= end:
                break
            if time >= start:
                yield _upright(frame), time
        fine = watch.complete(container) if end is None else watch.doubt == math.inf
        if not fine or watch.stopped:
            until = "its end" if end is None else f"{end:g} s"
            report(BadInput(f"{name} is cut off or damaged between {start:g} s and {until}"))


def film_facts(path: Path) -> dict[str, str]:
    """What its header says, in words."""
    with _opened(path, str(path)) as (container, stream):
        codec, rate = stream.codec_context, float(stream.average_rate or 0)
        return {
            "form": container.format.long_name,
            "codec": f"{codec.name}, {codec.pix_fmt}",
            "size": f"{codec.width} x {codec.height} pixels",
            "rate": f"{rate:.3f} frames a second" if rate else "unknown",
            "length": _length(container.duration),
            "frames": str(stream.frames or "not said"),
            "sound": "yes" if container.streams.audio else "no",
        }


def _length(duration: int | None) -> str:
    return f"{duration / av.time_base:.2f} s" if duration else "unknown"


@contextmanager
def _opened(source: str | Path | Any, name: str) -> Iterator[tuple[Any, Any]]:
    """The open container and its first stream of moving pictures; BadInput if there is none."""
    # Without "file:" a name such as "a:b.mp4" would be of the protocol "a".
    address = f"file:{source}" if isinstance(source, Path) else source
    settings: dict[str, Any] = {"options": {"format_whitelist": _FILMS}}
    if isinstance(source, Path):
        settings["options"]["protocol_whitelist"] = "file"
    elif isinstance(source, str):
        options = {"format_whitelist": _STREAMS, "rtsp_transport": "tcp"}
        settings = {"timeout": 10, "options": options}
    try:
        try:
            container = av.open(address, **settings)
        except UnicodeDecodeError:  # tags of a file from before UTF-8; PyAV 19 no longer minds
            container = av.open(address, metadata_errors="replace", **settings)
    except av.FFmpegError as error:
        reason = "no film that is known" if error.errno == errno.EINVAL else error.strerror
        raise BadInput(
            f"{name} cannot be opened as video ({reason}): is it one, and all of it there?"
        ) from error
    with container:
        for stream in container.streams.video:
            codec = stream.codec_context  # None of what FFmpeg cannot decode, or knows nothing of
            letters = codec is None or codec.name in _LETTERS
            if not letters and not stream.disposition & Disposition.attached_pic:
                yield container, stream
                return
        raise BadInput(f"{name} cannot be opened as video: it holds no moving pictures")


def _decoded(container: Any, stream: Any, watch: "_Watch") -> Iterator[Any]:
    """All frames that can be decoded: after a damaged packet the next is tried."""
    try:
        for packet in container.demux():  # sound, too, shows how far a file goes
            watch.packet(packet)
            if packet.stream.index == stream.index:
                try:
                    yield from packet.decode()
                except av.FFmpegError:
                    watch.doubt = -math.inf
    except av.FFmpegError as error:
        watch.stopped = str(error.strerror)
        with suppress(av.FFmpegError):
            yield from stream.decode(None)  # what the decoder still holds back


def _upright(frame: Any) -> Image:
    """(H, W, 3) BGR, turned the way up that its display matrix says."""
    image = frame.to_ndarray(format="bgr24")
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


@dataclass
class _Watch:
    """What is known of a film while it is read; in seconds of its own clock."""

    shown: int = 0
    fine: int = 0  # frames before any damage
    fine_time: float = 0
    begin: float = 0
    time: float = 0  # of the latest frame
    step: float = 0  # the longest between two frames
    reached: float = 0  # the end of the latest packet, of sound too
    doubt: float = math.inf  # pictures from here on may be damaged
    stopped: str = ""  # why nothing more could be read

    def packet(self, packet: Any) -> None:
        if packet.pts is None:
            return
        start, length = (float(n * packet.time_base) for n in (packet.pts, packet.duration or 0))
        self.reached = max(self.reached, start + length)
        if packet.is_corrupt:
            self.doubt = min(self.doubt, start)

    def frame(self, frame: Any, stream: Any) -> float:
        """Its time since the first; a frame that states none follows at the usual distance."""
        if frame.pts is None:
            time = self.time + 1 / float(stream.average_rate or 25) if self.shown else 0.0
        else:
            time = float(frame.pts * stream.time_base)
        if not self.shown:
            self.begin = self.time = time
        self.step, self.time = max(self.step, time - self.time), time
        self.shown += 1
        if frame.is_corrupt:
            self.doubt = min(self.doubt, time)
        if time < self.doubt:
            self.fine, self.fine_time = self.shown, time - self.begin
        return time - self.begin

    def complete(self, container: Any) -> bool:
        """False if something was damaged, or it ends before the length that its header states."""
        if self.stopped or self.doubt < math.inf:
            return False
        stated = (container.duration or 0) / av.time_base
        early = self.reached < stated - max(0.5, 2 * self.step)
        # Of other forms FFmpeg guesses the length.
        return not (early and any(form in container.format.name for form in ("mov", "matroska")))
