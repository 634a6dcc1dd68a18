"""Pretrain the image encoder of the `tiny` preset on rendered pictures.

Example (two cores): python runs/pretrain_perception.py --minutes 40 --workers 2 --out out/perception
The same with --resume goes on after an interruption. At the end OUT/checkpoint is a policy that has the
encoder and has learned nothing else: what runs/imitate.py starts from. --export only writes that.
"""

import argparse
from pathlib import Path

from safevla.pretrain.perception import export_policy, pretrain
from safevla.pretrain.settings import PerceptionConfig


def _print_row(row: dict[str, float]) -> None:
    print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pictures", type=int, default=0, help="budget in pictures instead of minutes")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--homes", type=int, default=64)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--save-minutes", type=float, default=3.0)
    parser.add_argument("--validation-pictures", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--export", action="store_true", help="train nothing, write OUT/checkpoint")
    arguments = vars(parser.parse_args())
    out, resume = Path(arguments.pop("out")), arguments.pop("resume")
    try:
        if not arguments.pop("export"):
            pretrain(PerceptionConfig(**arguments), out, resume, _print_row)
        print(export_policy(out, arguments["preset"]))
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
