"""A network compiled by OpenVINO: for inputs of any size, and for one size that stays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = tuple[NDArray[np.float32], ...]
Infer = Callable[..., Maps]

STAYS = 32  # inputs of one size in a row: a second of a film


class Graphs:
    """Inputs (N, H, W, 3), and others that go with them, to the network's outputs number `chosen`.

    Compiled for any size, the network asks at each layer how large its input is, a tenth of its
    time. After `STAYS` inputs of one shape in a row it is compiled for that shape as well, which
    takes 0.1 to 0.5 s and 30 MB (benchmarks/RESULTS.md). In int8 and bf16 the two differ by what
    rounding does.
    """

    def __init__(
        self, model: Any, compile_model: Callable[[Any], Any], chosen: tuple[int, ...]
    ) -> None:
        self._model, self._compile, self._chosen = model, compile_model, chosen
        self._any = self._compiled(model)
        self._last: tuple[int, ...] = ()
        self._count = 0
        self._shape: tuple[int, ...] = ()
        self._fixed: Infer = self._any

    def __call__(self, images: NDArray[np.uint8], *others: NDArray[np.float32]) -> Maps:
        self._count = self._count + 1 if images.shape == self._last else 1
        self._last = images.shape
        if self._count == STAYS and self._shape != images.shape:
            model = self._model.clone()
            inputs: tuple[NDArray[Any], ...] = (images, *others)
            model.reshape({place: list(each.shape) for place, each in enumerate(inputs)})
            self._fixed, self._shape = self._compiled(model), images.shape
        infer = self._fixed if images.shape == self._shape else self._any
        return infer(images, *others)

    def _compiled(self, model: Any) -> Infer:
        compiled = self._compile(model)
        request = compiled.create_infer_request()
        outputs = [compiled.outputs[place] for place in self._chosen]

        def infer(*inputs: NDArray[Any]) -> Maps:
            results = request.infer(list(inputs), share_inputs=True)
            return tuple(results[output] for output in outputs)

        return infer
