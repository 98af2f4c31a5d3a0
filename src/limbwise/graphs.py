"""A network compiled by OpenVINO, for any number of threads that ask it at once.

Three kinds of inputs want three ways. Crops of one person have one size, and there are several at a
time: each goes through alone, in as many streams of one thread as there are threads, since two
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
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, *inputs: NDArray[Any]) -> Maps:
        request = self._idle.get()
        try:
            request.infer(list(inputs), share_inputs=True)
            return self._said(request)
        finally:
            self._idle.put(request)

    def one_by_one(self, *inputs: NDArray[Any]) -> Maps:
        """The same for N inputs at once to a model that takes one: each in a request of its own."""
        results: list[Maps] = []
        at_work: deque[Any] = deque()
        try:
            for n in range(len(inputs[0])):
                request = self._free(at_work, results)
                request.start_async([each[n : n + 1] for each in inputs], share_inputs=True)
                at_work.append(request)
            while at_work:
                self._idle.put(self._finished(at_work, results))
        finally:
            for request in at_work:  # after an error: nobody may get one that is still at work
                request.wait()
                self._idle.put(request)
        return tuple(np.concatenate(maps) for maps in zip(*results, strict=True))

    def _free(self, at_work: deque[Any], results: list[Maps]) -> Any:
        """An idle request; of a caller who has some at work the one that began first, once it is
        done, so that no two callers wait for each other."""
        if not at_work:
            return self._idle.get()
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._finished(at_work, results)

    def _finished(self, at_work: deque[Any], results: list[Maps]) -> Any:
        request = at_work.popleft()
        try:
            request.wait()
            results.append(self._said(request))
        except BaseException:
            self._idle.put(request)
            raise
        return request

    def _said(self, request: Any) -> Maps:
        return tuple(request.get_tensor(output).data.copy() for output in self._outputs)


class Crops:
    """Crops (N, H, W, 3) of one `size`, and others that go with them, in `streams` at once."""

    def __init__(
        self, model: Any, compile_model: Compile, chosen: tuple[int, ...], size: tuple[int, int],
        streams: int,
    ) -> None:  # fmt: skip
        model = model.clone()
        shapes = {n: each.get_partial_shape() for n, each in enumerate(model.inputs)}
        for n, shape in shapes.items():
            shape[0] = 1
            if n == 0:
                shape[1], shape[2] = size
        model.reshape(shapes)
        self._requests = Requests(compile_model(model), chosen, streams)

    def __call__(self, images: NDArray[np.uint8], *others: NDArray[np.float32]) -> Maps:
        return self._requests.one_by_one(images, *others)


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
