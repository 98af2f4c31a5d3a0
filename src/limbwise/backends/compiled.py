"""A network compiled by OpenVINO, for any number of threads that ask it at once.

Three kinds of inputs want three ways. Crops of one person have one size, and there are several at a
time: they go through in as many streams of one thread as there are threads, each with its share of
them, since two threads of one stream gain little on so small a network (docs/log.md). Inputs whose
longer side is fixed have a dozen sizes: each is compiled when it first comes. Of inputs of any size
those of usual shapes, which films have, are compiled so too; all others go through one graph for
any size. Which graph computes a picture depends on its shape alone, or on how many people are in
it, never on what came before: in int8 and bf16 graphs round differently.
"""

import queue
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = tuple[NDArray[np.float32], ...]
Infer = Callable[..., Maps]
Compile = Callable[[Any], Any]

TOGETHER = 3  # crops of a pass: each number is a graph of its own, of some 80 MB
SIZES = 8  # graphs of one size that are kept
# Width over height of films and of most photos; seven shapes at a time, so that compiling ends
USUAL = (16 / 9, 3 / 2, 4 / 3, 1.0, 3 / 4, 2 / 3, 9 / 16)


class Requests:
    """A compiled model: inputs to its outputs number `chosen`, in arrays of the caller's own.

    `count` requests are at work at once; who comes while all are waits.
    """

    def __init__(self, compiled: Any, chosen: tuple[int, ...], count: int = 1) -> None:
        self._outputs = [compiled.outputs[place] for place in chosen]
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(count):
            self.idle.put(compiled.create_infer_request())

    def __call__(self, *inputs: NDArray[Any]) -> Maps:
        request = self.idle.get()
        try:
            request.infer(list(inputs), share_inputs=True)
            return self.outputs_of(request)
        finally:
            self.idle.put(request)

    def outputs_of(self, request: Any) -> Maps:
        return tuple(request.get_tensor(output).data.copy() for output in self._outputs)


class Crops:
    """Crops (N, H, W, 3) of one `size`, and others that go with them, in `streams` at once: three
    in one pass take a quarter less time than one by one."""

    def __init__(
        self, model: Any, compile_model: Compile, chosen: tuple[int, ...], size: tuple[int, int],
        streams: int,
    ) -> None:  # fmt: skip
        self._model, self._compile, self._chosen = model, compile_model, chosen
        self._size, self._streams = size, streams
        self._lock = Lock()
        self._graphs: dict[int, Requests] = {}

    def __call__(self, images: NDArray[np.uint8], *others: NDArray[np.float32]) -> Maps:
        inputs: tuple[NDArray[Any], ...] = (images, *others)
        results: list[Maps] = []
        at_work: deque[tuple[Requests, Any]] = deque()
        try:
            for part in parts(len(images), self._streams):
                graph = self._of(part.stop - part.start)
                request = _free(graph, at_work, results)
                at_work.append((graph, request))
                request.start_async([each[part] for each in inputs], share_inputs=True)
            while at_work:
                _finish(at_work, results)
        finally:
            for graph, request in at_work:  # after an error: none may be given that is at work
                request.wait()
                graph.idle.put(request)
        return tuple(np.concatenate(maps) for maps in zip(*results, strict=True))

    def _of(self, count: int) -> Requests:
        """The graph for so many crops."""
        with self._lock:
            if count not in self._graphs:
                model = self._model.clone()
                shapes = {n: each.get_partial_shape() for n, each in enumerate(model.inputs)}
                for n, shape in shapes.items():
                    shape[0] = count
                    if n == 0:
                        shape[1], shape[2] = self._size
                model.reshape(shapes)
                compiled = self._compile(model)
                self._graphs[count] = Requests(compiled, self._chosen, self._streams)
            return self._graphs[count]


def parts(count: int, streams: int) -> list[slice]:
    """N crops in as many parts for each stream, which differ by one crop at most; no part has more
    than `TOGETHER`, and none is empty."""
    pieces = min(streams * -(-count // (streams * TOGETHER)), count)
    edges = [piece * count // max(pieces, 1) for piece in range(pieces + 1)]
    return [slice(*both) for both in pairwise(edges)]


def _free(graph: Requests, at_work: deque[tuple[Requests, Any]], results: list[Maps]) -> Any:
    """An idle request; who has some at work waits for these only, so that no two callers wait for
    each other."""
    while at_work:
        try:
            return graph.idle.get_nowait()
        except queue.Empty:
            _finish(at_work, results)
    return graph.idle.get()


def _finish(at_work: deque[tuple[Requests, Any]], results: list[Maps]) -> None:
    """Waits for the request that began first."""
    graph, request = at_work.popleft()
    try:
        request.wait()
        results.append(graph.outputs_of(request))
    finally:
        graph.idle.put(request)


class FewSizes:
    """Inputs (N, H, W, 3) of a few sizes, and others with them; each is compiled when it comes."""

    def __init__(self, model: Any, compile_model: Compile, chosen: tuple[int, ...]) -> None:
        self._model, self._compile, self._chosen = model, compile_model, chosen
        self._graphs: OrderedDict[tuple[int, ...], Requests] = OrderedDict()
        self._lock = Lock()

    def __call__(self, *inputs: NDArray[Any]) -> Maps:
        shape = inputs[0].shape
        with self._lock:
            graph = self._graphs.get(shape)
            if graph is None:
                graph = _of_one_size(self._model, self._compile, self._chosen, inputs)
                self._graphs[shape] = graph
                if len(self._graphs) > SIZES:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(shape)
        return graph(*inputs)


class AnySize:
    """Inputs (N, H, W, 3) of any size, and others that go with them.

    Compiled for any size, the network asks at each layer how large its input is, a sixth of its
    time. For one shape it is compiled in 0.2 to 0.4 s (0.06 s where OpenVINO kept it) and 30 MB
    (benchmarks/RESULTS.md): usual shapes have a graph of their own, whole `multiple`s as they are.
    """

    def __init__(
        self, model: Any, compile_model: Compile, chosen: tuple[int, ...], multiple: int = 8
    ) -> None:
        self._model, self._compile, self._chosen = model, compile_model, chosen
        self._multiple = multiple
        self._usual = FewSizes(model, compile_model, chosen)
        self._any: Requests | None = None
        self._lock = Lock()

    def __call__(self, *inputs: NDArray[Any]) -> Maps:
        if is_usual(inputs[0].shape[1:3], self._multiple):
            return self._usual(*inputs)
        with self._lock:
            if self._any is None:
                self._any = Requests(self._compile(self._model), self._chosen)
        return self._any(*inputs)


def is_usual(size: tuple[int, ...], multiple: int) -> bool:
    """Whether an input (height, width) is of a usual shape, filled up to whole multiples."""
    height, width = size
    return any(width == -(-round(height * shape) // multiple) * multiple for shape in USUAL)


def _of_one_size(
    model: Any, compile_model: Compile, chosen: tuple[int, ...], inputs: tuple[NDArray[Any], ...]
) -> Requests:
    model = model.clone()
    model.reshape({place: list(each.shape) for place, each in enumerate(inputs)})
    return Requests(compile_model(model), chosen)
