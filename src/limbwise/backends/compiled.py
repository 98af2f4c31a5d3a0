"""A network compiled by OpenVINO, for any number of threads that ask it at once.

Three kinds of inputs want three ways. Crops of one person have one size, and there are several at a
time: they go through in pairs, in as many streams of one thread as there are threads, since two
threads of one stream gain little on so small a network (docs/log.md). Inputs whose longer side is
fixed have a dozen sizes: each is compiled when it first comes. Inputs of any size go through a
graph for any size, and one that stays for a second gets a graph of its own.
"""

import queue
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = tuple[NDArray[np.float32], ...]
Infer = Callable[..., Maps]
Compile = Callable[[Any], Any]

STAYS = 32  # inputs of one size in a row: a second of a film
SIZES = 8  # graphs of one size that are kept


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
            return self.said(request)
        finally:
            self.idle.put(request)

    def said(self, request: Any) -> Maps:
        return tuple(request.get_tensor(output).data.copy() for output in self._outputs)


class Crops:
    """Crops (N, H, W, 3) of one `size`, and others that go with them, two by two in `streams` at
    once: a pair takes less than two do one by one."""

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
    """N crops in pairs, but singly while there are no more than streams."""
    size = 2 if count > streams else 1
    return [slice(n, min(n + size, count)) for n in range(0, count, size)]


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
        results.append(graph.said(request))
    finally:
        graph.idle.put(request)


class FewSizes:
    """Inputs (N, H, W, 3) of a few sizes; each is compiled when it first comes."""

    def __init__(self, model: Any, compile_model: Compile, chosen: tuple[int, ...]) -> None:
        self._model, self._compile, self._chosen = model, compile_model, chosen
        self._graphs: OrderedDict[tuple[int, ...], Requests] = OrderedDict()
        self._lock = Lock()

    def __call__(self, images: NDArray[np.uint8]) -> Maps:
        with self._lock:
            graph = self._graphs.get(images.shape)
            if graph is None:
                graph = _of_one_size(self._model, self._compile, self._chosen, (images,))
                self._graphs[images.shape] = graph
                if len(self._graphs) > SIZES:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(images.shape)
        return graph(images)


class AnySize:
    """Inputs (N, H, W, 3) of any size, and others that go with them.

    Compiled for any size, the network asks at each layer how large its input is, a tenth of its
    time. After `STAYS` inputs of one shape in a row it is compiled for that shape as well, which
    takes 0.1 to 0.5 s and 30 MB (benchmarks/RESULTS.md). In int8 and bf16 the two differ by what
    rounding does.
    """

    def __init__(self, model: Any, compile_model: Compile, chosen: tuple[int, ...]) -> None:
        self._model, self._compile, self._chosen = model, compile_model, chosen
        self._any = Requests(compile_model(model), chosen)
        self._lock = Lock()
        self._last: tuple[int, ...] = ()
        self._count = 0
        self._shape: tuple[int, ...] = ()
        self._fixed = self._any

    def __call__(self, images: NDArray[np.uint8], *others: NDArray[np.float32]) -> Maps:
        with self._lock:
            self._count = self._count + 1 if images.shape == self._last else 1
            self._last = images.shape
            if self._count == STAYS and self._shape != images.shape:
                self._fixed = _of_one_size(
                    self._model, self._compile, self._chosen, (images, *others)
                )
                self._shape = images.shape
            infer = self._fixed if images.shape == self._shape else self._any
        return infer(images, *others)


def _of_one_size(
    model: Any, compile_model: Compile, chosen: tuple[int, ...], inputs: tuple[NDArray[Any], ...]
) -> Requests:
    model = model.clone()
    model.reshape({place: list(each.shape) for place, each in enumerate(inputs)})
    return Requests(compile_model(model), chosen)
