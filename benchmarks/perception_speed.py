"""What a picture costs in pretraining: drawing it, and learning from it with and without our depthwise layer.

    python benchmarks/perception_speed.py --save results/perception_speed.json

Milliseconds of one core, medians over steps of 16 pictures, the two layers in turn. Homes are kept, as in a
run that has gone on for a while; a new one is drawn now and then.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from safevla.policy.depthwise import DepthwiseConvolution
from safevla.policy.presets import PRESETS
from safevla.pretrain.perception import Trainer
from safevla.pretrain.settings import PerceptionConfig
from safevla.runs import code_version, machine, write_json


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="tiny-memory", choices=sorted(PRESETS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--homes", type=int, default=4)
    parser.add_argument("--save", type=Path, help="also write the figures as JSON")
    return parser.parse_args()


def with_pytorchs_layer(trainer: Trainer) -> Trainer:
    """Give the net of a trainer PyTorch's own depthwise convolutions; the weights stay."""
    for module in trainer.net.modules():
        if isinstance(module, DepthwiseConvolution):
            module.__class__ = torch.nn.Conv2d  # type: ignore[assignment]
    return trainer


def learn(trainer: Trainer, batch: Any) -> None:
    """Take one step of the optimiser on pictures that are drawn already."""
    losses = trainer.losses(batch)
    trainer.optimiser.zero_grad(set_to_none=True)
    torch.stack([*losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
    trainer.optimiser.step()


def milliseconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of a call, and what it returned."""
    started = time.process_time()
    result = function()
    return 1e3 * (time.process_time() - started), result


def main() -> None:
    arguments = parse_arguments()
    config = PerceptionConfig(
        preset=arguments.preset, size_class="all", homes=arguments.homes, pictures=1, workers=1
    )
    trainers = {"ours": Trainer(config), "PyTorch's": with_pytorchs_layer(Trainer(config))}
    for trainer in trainers.values():
        trainer.begin()
    sampler = trainers["ours"].sampler
    found: dict[str, list[float]] = {"draw": [], **{name: [] for name in trainers}}
    for step in range(-2, arguments.steps):  # the first two compile
        drawn, batch = milliseconds(lambda: sampler.draw(config.batch))
        spent = {"draw": drawn}
        for name, trainer in trainers.items():
            spent[name], _ = milliseconds(lambda trainer=trainer, batch=batch: learn(trainer, batch))
        for name, value in spent.items() if step >= 0 else ():
            found[name].append(value / config.batch)
    rows = [
        {"part": "draw" if name == "draw" else f"learn, {name} layer", "ms/picture": statistics.median(times)}
        for name, times in found.items()
    ]
    for row in rows:
        print(f"{row['part']:<26}{row['ms/picture']:>8.2f} ms/picture")
    ratio = rows[2]["ms/picture"] / rows[1]["ms/picture"]
    print(f"learning: ratio {ratio:.2f}")
    if arguments.save:
        command = " ".join(["python", "benchmarks/perception_speed.py", *sys.argv[1:]])
        head = {"command": command, "code": code_version(), "machine": machine(), "seeds": [0]}
        write_json(arguments.save, head | {"steps": arguments.steps, "rows": rows, "ratio": ratio})


if __name__ == "__main__":
    main()
