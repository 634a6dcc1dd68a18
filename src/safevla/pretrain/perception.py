"""Pretraining of the image encoder on rendered pictures: losses, training loop, checkpoints.

Every worker is one process with one thread that draws its own pictures and computes its own gradients; the
gradients are averaged over the workers. So two workers use two cores fully, with no queue between them.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from torch import nn
from torch.multiprocessing.spawn import spawn

from safevla.policy.checkpoint import load_policy
from safevla.policy.device import find_device
from safevla.policy.encoder import EncoderConfig, Maps, PerceptionEncoder, use_half
from safevla.policy.presets import preset_config
from safevla.policy.text import TextEncoder
from safevla.pretrain.described_queries import DESCRIBED
from safevla.pretrain.perception_data import (
    TARGET_CATEGORIES,
    Pictures,
    ViewSampler,
)
from safevla.pretrain.perception_metrics import colour_figures, detection_table
from safevla.pretrain.phrase_book import PhraseBook
from safevla.pretrain.settings import PerceptionConfig
from safevla.tasks.labels import CELL_PIXELS, MASK_PIXELS, MASKS
from safevla.types import PATCH
from safevla.world.catalogue import CATEGORIES

_WARM_PICTURES = 3000  # over which the learning rate rises
QUERIES = 24  # sentences compared with each picture in training
_STATISTICS = 512  # pictures that the normalisations of an encoder begin with that was folded for use
_ASKED_FOR = np.array([name in TARGET_CATEGORIES for name in CATEGORIES])
STATE_NAME, ENCODER_NAME = "state.pt", "encoder.pt"
# What reading a damaged or foreign file can raise.
_DAMAGED = (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError)


def draw_queries(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose QUERIES categories per picture: what a robot may be sent for, then what is seen, some others.

    Every target is asked for in every picture: that is what must neither be missed nor taken for another.

    Args:
        counts: (B, K, R, C) pixels per category and cell.
        rng: source of the choice.

    Returns:
        (B, QUERIES) int64 category ids, the targets first; distinct as long as QUERIES <= K.
    """
    present = np.asarray(counts.any((2, 3)))
    priority = rng.random(present.shape) + np.where(_ASKED_FOR, 2.0, 0.7 * present)
    chosen = np.argsort(-priority, axis=1, kind="stable")[:, :QUERIES]
    return np.asarray(chosen, np.int64)


def match_loss(logits: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Focal loss of the target maps, in which a small thing weighs almost as much as a large one.

    Args:
        logits: (B, S, R, C).
        pixels: (B, S, R, C) pixels of the thing in each cell of 16; 1 is neither yes nor no.

    Returns:
        The sum over cells, divided by the number of (picture, sentence) pairs whose thing is seen.
    """
    positive = pixels >= CELL_PIXELS
    truth = positive.to(logits.dtype)
    error = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    surprise = (truth - torch.sigmoid(logits.detach())).abs().pow(1.5)
    cells = positive.sum((2, 3), keepdim=True)
    weight = torch.where(positive, 4.0 / cells.clamp(min=1).sqrt(), 1.0) * (pixels != 1)
    return (error * surprise * weight).sum() / (cells > 0).sum().clamp(min=1)


def head_loss(heads: torch.Tensor, depth: torch.Tensor, masks: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the losses of the maps that need no sentence: absolute log-depth error, cross entropies.

    Args:
        heads: (B, 1 + M, P, P) log-depth, then logits of the masks.
        depth: (B, P, P) log(metres).
        masks: (B, M, P, P) uint8, pixels of 64.
    """
    losses = {"depth": functional.l1_loss(heads[:, 0], depth)}
    floor = masks[:, 0].float() / PATCH**2
    losses["floor"] = functional.binary_cross_entropy_with_logits(heads[:, 1], floor)
    present = (masks[:, 1:] >= MASK_PIXELS).float()
    weight = present.new_tensor(3.0)
    losses["masks"] = functional.binary_cross_entropy_with_logits(heads[:, 2:], present, pos_weight=weight)
    return losses


_LOSS_WEIGHTS = {"match": 0.1, "depth": 1.0, "floor": 0.5, "masks": 2.0}


def jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scale (B, H, W, 3) uint8 pictures to -0.5..0.5 with a random gain, tint and shift for each."""
    gain = 1.0 + 0.3 * (torch.rand(len(images), 1, 1, 1, generator=generator) - 0.5)
    tint = 1.0 + 0.16 * (torch.rand(len(images), 1, 1, 3, generator=generator) - 0.5)
    shift = 0.12 * (torch.rand(len(images), 1, 1, 1, generator=generator) - 0.5)
    return images.float().mul_(gain * tint / 255).clamp_(0, 1).sub_(0.5).add_(shift)


class Trainer:
    """One worker: its pictures, its copy of the net, its optimiser."""

    def __init__(self, config: PerceptionConfig, rank: int = 0, device: str = "cpu") -> None:
        torch.set_num_threads(1)
        torch.manual_seed(config.seed)
        self.config, self.rank, self.device = config, rank, find_device(device)
        sizes = preset_config(config.preset)
        self.resolution = sizes.resolution
        self.half = use_half(config.precision, self.device)
        self.net = PerceptionEncoder(sizes.encoder, norm=True)
        if config.start:
            self._start_from(config.start)
        self.net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=1e-3, fused=True
        )
        self.book = PhraseBook(TextEncoder())
        self.pictures = 0  # drawn by all workers together
        self.seconds = 0.0

    def _start_from(self, source: str) -> None:
        """Take over weights of a run's folder, or of a policy; ValueError if they are not of such a net."""
        path = Path(source) / STATE_NAME
        try:
            weights = _read(path)["net"] if path.exists() else _encoder_of(source)
            self.net.grow_from(weights)
        except _DAMAGED as error:
            raise ValueError(f"cannot start from {source}: {str(error).splitlines()[0]}") from error
        if not path.exists():
            seen = ViewSampler(
                self.config.seed,
                "train",
                self.resolution,
                16,
                16,
                size_class=self.config.size_class,
                scale=self.net.config.scale,
            ).draw(_STATISTICS)
            self.net.normalise_as(torch.from_numpy(seen.images), torch.from_numpy(seen.camera))

    def begin(self) -> None:
        """Make the sampler; what it draws depends on where the run stands, so that a resumed run goes on."""
        seed = np.random.SeedSequence([self.config.seed, self.rank, self.pictures])
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        self.sampler = ViewSampler(
            int(self.rng.integers(2**31)),
            "train",
            self.resolution,
            self.config.homes,
            size_class=self.config.size_class,
            focus=self.config.focus,
            held=self.config.held,
            repaint=self.config.repaint,
            scale=self.net.config.scale,
        )

    def losses(self, batch: Pictures) -> dict[str, torch.Tensor]:
        """Return the four losses of a batch."""
        chosen = draw_queries(batch.counts, self.rng)
        pixels = np.take_along_axis(batch.counts, chosen[:, :, None, None], axis=1)
        sentences = self.book.draw(chosen, self.rng)
        # The last categories are mostly not in the picture: queries by colour take their place.
        asked = batch.asked[:, :, 0] >= 0
        pixels[:, -DESCRIBED:][asked] = batch.asked_counts[asked]
        sentences[:, -DESCRIBED:][torch.from_numpy(asked)] = self.book.draw_described(
            batch.asked[asked], self.rng
        )
        images = jitter(torch.from_numpy(batch.images), self.generator).to(self.device)
        told = (torch.from_numpy(part) for part in (batch.camera, pixels, batch.depth, batch.masks))
        camera, seen, depth, masks = (part.to(self.device) for part in told)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            maps = self.net(images, camera)
            logits = self.net.match(maps.cells, sentences.to(self.device))
        return {"match": match_loss(logits.float(), seen)} | head_loss(maps.heads.float(), depth, masks)

    def step(self, progress: float) -> dict[str, float]:
        """Take one step of the optimiser; `progress` from 0 to 1 sets the learning rate."""
        losses = self.losses(self.sampler.draw(self.config.batch))
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.stack([_LOSS_WEIGHTS[name] * value for name, value in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self._average_gradients()
        norm = nn.utils.clip_grad_norm_(self.parameters, 5.0)
        if not bool(torch.isfinite(norm)):
            raise ValueError("the gradient of the encoder is not finite, lower the learning rate")
        warm = min(1.0, (self.pictures + 1) / _WARM_PICTURES)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * warm * cosine
        self.optimiser.step()
        self.pictures += self.config.batch * self.config.workers
        return {name: float(value.detach()) for name, value in losses.items()}

    def _average_gradients(self) -> None:
        if self.config.workers == 1:
            return
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]).cpu()  # where workers meet
        distributed.all_reduce(flat)
        flat /= self.config.workers
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def progress(self, started: float) -> float:
        """Return the share of the budget that is spent, the same number in every worker."""
        if self.config.pictures > 0:
            return self.pictures / self.config.pictures
        share = torch.tensor([(self.seconds + time.monotonic() - started) / (60 * self.config.minutes)])
        if self.config.workers > 1:
            distributed.broadcast(share, 0)
        return float(share)

    def save(self, folder: Path, seconds: float) -> None:
        """Write what a resumed run needs; the file is replaced in one go."""
        state = {
            "encoder": asdict(self.net.config),
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "pictures": self.pictures,
            "seconds": seconds,
        }
        temporary = folder / f"{STATE_NAME}.part"
        torch.save(state, temporary)
        os.replace(temporary, folder / STATE_NAME)

    def load(self, folder: Path) -> None:
        """Go on from `save`; ValueError if the checkpoint is of another net or cannot be read."""
        path = folder / STATE_NAME
        try:
            state = _read(path)
            if state["encoder"] != asdict(self.net.config):
                raise ValueError("it is of an encoder of other sizes")
            self.net.load_state_dict(state["net"])
            self.optimiser.load_state_dict(state["optimiser"])
        except _DAMAGED as error:
            raise ValueError(f"cannot resume from {path}: {str(error).splitlines()[0]}") from error
        self.pictures, self.seconds = state["pictures"], state["seconds"]


def _read(path: str | Path) -> Any:
    """Return what `torch.save` wrote, on the CPU wherever it was made."""
    return torch.load(path, map_location="cpu", weights_only=True)


def _encoder_of(policy: str) -> dict[str, torch.Tensor]:
    """Return the weights of a policy's encoder; ValueError if there is no such policy or it has none."""
    encoder = getattr(load_policy(policy), "encoder", None)
    if not isinstance(encoder, PerceptionEncoder):
        raise ValueError("it is neither the folder of a pretraining nor a policy with such an encoder")
    return encoder.float().state_dict()


def pretrain(
    config: PerceptionConfig,
    folder: str | Path,
    resume: bool = False,
    report: Callable[[dict[str, float]], None] | None = None,
    device: str = "cpu",
) -> Path:
    """Train an encoder and write it.

    Args:
        config: what to train and for how long.
        folder: gets `encoder.pt` (weights and sizes), `metrics.jsonl`, `metrics.json` and `state.pt`.
        resume: go on from the folder's `state.pt`.
        report: called in the first worker with the figures of every save.
        device: where the net computes, see `policy.device.find_device`; workers share it. Looks at validation
            pictures are taken on the CPU.

    Returns:
        The path of `encoder.pt`.

    Raises:
        ValueError: the folder holds another run and `resume` is not given, or it cannot be resumed.
    """
    out = Path(folder)
    if (out / STATE_NAME).exists() and not resume:
        raise ValueError(f"{out} holds a pretraining run, resume it or choose another folder")
    if resume and not (out / STATE_NAME).exists():
        raise ValueError(f"nothing to resume in {out}: it has no {STATE_NAME}")
    trainer = Trainer(config, device=device)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        trainer.load(out)
    if config.workers == 1:
        trainer.begin()
        _run(trainer, out, report)
    else:
        _lead(trainer, out, resume, report, device)
    return out / ENCODER_NAME


def _lead(
    trainer: Trainer,
    out: Path,
    resume: bool,
    report: Callable[[dict[str, float]], None] | None,
    device: str,
) -> None:
    """Train as the first of several workers; the others are started here and end with it."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"{folder}/workers"
        arguments = (trainer.config, out, resume, meeting, device)
        others = spawn(_follow, arguments, nprocs=trainer.config.workers - 1, join=False)  # type: ignore[no-untyped-call]
        try:
            _meet(meeting, 0, trainer.config.workers)
            trainer.begin()
            _run(trainer, out, report)
            distributed.destroy_process_group()
            while not others.join():
                pass
        finally:
            for process in others.processes:
                process.terminate()


def _follow(index: int, config: PerceptionConfig, out: Path, resume: bool, meeting: str, device: str) -> None:
    """Train as one of the other workers."""
    trainer = Trainer(config, index + 1, device)
    if resume:
        trainer.load(out)
    _meet(meeting, index + 1, config.workers)
    trainer.begin()
    _run(trainer, out, None)
    distributed.destroy_process_group()


def _meet(meeting: str, rank: int, workers: int) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)


def _run(trainer: Trainer, out: Path, report: Callable[[dict[str, float]], None] | None) -> None:
    config, started = trainer.config, time.monotonic()
    watched: dict[str, list[float]] = {}
    begun, due = trainer.pictures, time.monotonic() + 60 * config.save_minutes
    while (progress := trainer.progress(started)) < 1.0:
        for name, value in trainer.step(progress).items():
            watched.setdefault(name, []).append(value)
        if trainer.rank == 0 and time.monotonic() > due:
            seconds = time.monotonic() - started
            row = {f"loss/{name}": float(np.mean(values[-400:])) for name, values in watched.items()}
            row |= {"pictures": trainer.pictures, "minutes": (trainer.seconds + seconds) / 60}
            row["pictures_per_s"] = (trainer.pictures - begun) / seconds
            row |= validate(
                trainer.net,
                trainer.book,
                trainer.resolution,
                config.validation_pictures // 4,
                config.size_class,
            )["all"]
            trainer.save(out, trainer.seconds + time.monotonic() - started)
            save_encoder(trainer.net, out / ENCODER_NAME)
            _append(out / "metrics.jsonl", row)
            if report is not None:
                report(row)
            due = time.monotonic() + 60 * config.save_minutes
    if trainer.rank == 0:
        trainer.save(out, trainer.seconds + time.monotonic() - started)
        save_encoder(trainer.net, out / ENCODER_NAME)
        table = validate(
            trainer.net, trainer.book, trainer.resolution, config.validation_pictures, config.size_class
        )
        (out / "metrics.json").write_text(json.dumps(table | {"pictures": trainer.pictures}, indent=1) + "\n")
        if report is not None:
            report(table["all"] | {"pictures": trainer.pictures})


def _append(path: Path, row: dict[str, float]) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps({name: round(value, 4) for name, value in row.items()}) + "\n")


def save_encoder(net: PerceptionEncoder, path: Path) -> None:
    """Write sizes and weights of an encoder, folded for use."""
    torch.save({"config": asdict(net.config), "weights": net.folded().state_dict()}, path)


def load_encoder(path: str | Path) -> PerceptionEncoder:
    """Read an encoder that `save_encoder` wrote; ValueError if the file is missing or not one."""
    try:
        saved = _read(path)
        settings = saved["config"] | {"stem": tuple(saved["config"]["stem"])}
        net = PerceptionEncoder(EncoderConfig(**settings))
        net.load_state_dict(saved["weights"])
    except _DAMAGED as error:
        raise ValueError(f"cannot read an encoder from {path}: {str(error).splitlines()[0]}") from error
    return net


@torch.inference_mode()
def validate(
    net: PerceptionEncoder, book: PhraseBook, resolution: int, pictures: int, size_class: str = "S"
) -> dict[str, dict[str, float]]:
    """Return detection and map figures on pictures of validation homes, by category and group.

    The pictures are the same every time, without variation of light, and every category is asked for in every
    picture by its noun.
    """
    net = net.folded()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sampler = ViewSampler(
        7,
        "val",
        resolution,
        homes=8,
        views_per_home=40,
        vary_light=False,
        size_class=size_class,
        scale=net.config.scale,
    )
    scores, counts, distances, errors = [], [], [], []
    masks: dict[str, list[np.ndarray]] = {"seen": [], "said": []}
    colours: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in range(max(1, pictures // 50)):
        batch = sampler.draw(50)
        maps = net(torch.from_numpy(batch.images), torch.from_numpy(batch.camera))
        logits = net.match(maps.cells, book.nouns.expand(len(batch.images), -1, -1))
        scores.append(torch.sigmoid(logits).half().numpy())
        counts.append(batch.counts)
        colours.append(_by_colour(net, book, maps, batch))
        distances.append(batch.distance)
        errors.append((maps.heads[:, 0].numpy() - batch.depth).ravel())
        masks["seen"].append(np.concatenate([batch.masks[:, :1] >= 32, batch.masks[:, 1:] >= MASK_PIXELS], 1))
        masks["said"].append((maps.heads[:, 1:] > 0).numpy())
    table = detection_table(np.concatenate(scores), np.concatenate(counts), np.concatenate(distances))
    table["colour"] = colour_figures(*(np.concatenate(parts) for parts in zip(*colours, strict=True)))
    table["all"]["depth_error"] = float(np.abs(np.concatenate(errors)).mean())
    seen, said = np.concatenate(masks["seen"]), np.concatenate(masks["said"])
    for index, name in enumerate(MASKS):
        both = float((seen[:, index] & said[:, index]).sum())
        table["all"][f"{name}_recall"] = both / max(1.0, float(seen[:, index].sum()))
        table["all"][f"{name}_precision"] = both / max(1.0, float(said[:, index].sum()))
    return table


def _by_colour(
    net: PerceptionEncoder, book: PhraseBook, maps: Maps, batch: Pictures
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores of queries by colour and of the bare nouns, and the pixels meant; each (Q, R, C)."""
    asked = batch.asked[:, :, 0] >= 0
    kinds, names = np.maximum(batch.asked, 0).transpose(2, 0, 1)
    said = book.described_nouns[torch.from_numpy(book.row[kinds, names])]
    bare = book.nouns[torch.from_numpy(kinds)]
    described, plain = (torch.sigmoid(net.match(maps.cells, text)).numpy()[asked] for text in (said, bare))
    return described, plain, batch.asked_counts[asked]
