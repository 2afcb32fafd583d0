"""Trainings that die on the way."""

from collections.abc import Callable

import pytest

from mstlib.training import train as training


def interrupted_at(step: int, start: Callable[[], object]) -> None:
    """Call `start`, whose training is interrupted when it comes to a step."""
    take = training.train_step

    def dies(model, batches, optimizer, recipe, number, *rest):
        if number == step:
            raise KeyboardInterrupt
        return take(model, batches, optimizer, recipe, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_step", dies)
        with pytest.raises(KeyboardInterrupt):
            start()
