"""What a training costs when the yard runs it: the same spec directly and through a queue, in turns."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import yards
from benchmarks.report import table

PROBE_SECONDS = 3.0
MEASURES = ("train", "wall", "cpu")


@dataclass(frozen=True)
class Cost:
    """`train`: seconds inside nn.train. `wall`: from claim (or from the spec's loading) to the run's end, weights and
    test split included. `cpu`: the training process's CPU seconds in that time, `rest`: those of the yard besides."""

    train: float
    wall: float
    cpu: float
    rest: float = 0.0


def direct(spec: str, seconds: float = 0.0) -> dict[str, float]:
    """Train the spec without a service; `seconds`: stop after about so many and tell how many epochs were done."""
    from threadpoolctl import threadpool_limits

    import nn
    from service import assembly, datasets, weights
    from service.spec import load

    began, cpu = time.perf_counter(), time.process_time()
    loaded = load(Path(spec), ["train.epochs=1000000"] if seconds else [])
    made = assembly.assemble(loaded, datasets.load(loaded))
    state, train, epochs = nn.State.start(made.plan), 0.0, 0
    with threadpool_limits(1, user_api="blas"):
        for epoch in nn.train(made.plan, state, made.train, made.validation):
            train, epochs = train + epoch.seconds, epochs + 1
            if seconds and train > seconds:
                break
        if made.test is not None:
            nn.evaluate(made.plan, state.best_parameters, made.test)
    for parameters in (state.best_parameters, state.parameters):
        weights.pack(parameters, made.scaler, made.spec, made.outline.schema)
    wall = time.perf_counter() - began
    return {"train": train, "wall": wall, "cpu": time.process_time() - cpu, "epochs": epochs}


def directly(spec: Path, seconds: float = 0.0) -> Mapping[str, float]:
    """`direct` in a fresh process with one BLAS thread."""
    code = f"import json; from benchmarks.overhead import direct; print(json.dumps(direct({str(spec)!r}, {seconds})))"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, cwd=yards.ROOT, env=environment,
        start_new_session=True,  # Ctrl-C is for us; `run` kills it then
    )  # fmt: skip
    return json.loads(process.stdout)


def alone(spec: Path) -> Cost:
    found = directly(spec)
    return Cost(*(found[name] for name in MEASURES))


def through_yard(spec: Path) -> Cost:
    """The same through a yard of its own with two slots; while `alone` trains there is no yard."""
    with yards.home() as folder, yards.yard(folder) as client:
        run = client.submit(spec)
        while not (attempts := client.attempts(run.id)):
            time.sleep(0.005)
        pid, before = attempts[0].pid, yards.cpu_seconds(folder)
        while not client.run(run.id).state.ended:  # more rarely than Client.wait asks: it is not a part of the yard
            time.sleep(0.5)
        after = yards.cpu_seconds(folder)
        ended, (attempt,) = client.run(run.id), client.attempts(run.id)
        if ended.state != "completed" or attempt.finished is None:
            raise RuntimeError(f"the run is {ended.state}: {ended.error}")
        used = {process: after[process] - before.get(process, 0.0) for process in after}
        wall = (attempt.finished - attempt.started).total_seconds()
        return Cost(attempt.seconds, wall, used.pop(pid), sum(used.values()))


def write_rows(folder: Path) -> None:
    """20,000 rows of 784 numbers in ten classes, as LONG_EPOCHS reads them."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20_000, 784), dtype=np.float32)
    labels = (features @ rng.standard_normal((784, 10), dtype=np.float32)).argmax(axis=1)
    np.savez(folder / "rows.npz", features=features, labels=labels)


def write_specs(folder: Path, seconds: float) -> dict[str, Path]:
    """Both specs, with as many epochs as take about so long here."""
    write_rows(folder)
    found = {}
    for name, text in (("short epochs", yards.SHORT_EPOCHS), ("long epochs", yards.LONG_EPOCHS)):
        file = folder / f"{name.replace(' ', '-')}.yaml"
        file.write_text(text)
        probe = directly(file, min(seconds, PROBE_SECONDS))
        epochs = max(1, round(seconds * probe["epochs"] / probe["train"]))
        file.write_text(text.replace("epochs: 1,", f"epochs: {epochs},"))
        found[f"{name} ({epochs:,})"] = file
    return found


def compare(seconds: float, pairs: int) -> tuple[str, dict[str, tuple[float, float]]]:
    """The table of all pairs, and for each spec the ratios of median wall and CPU times, each with its noise: by what
    share the slowest of equal runs exceeds the fastest."""
    lines, ratios = [], {}
    ways = {"alone": alone, "yard": through_yard}
    with yards.home() as folder:
        for name, spec in write_specs(folder, seconds).items():
            found: dict[str, list[Cost]] = {way: [] for way in ways}
            for pair in range(pairs):
                for way in list(ways)[:: 1 if pair % 2 == 0 else -1]:
                    found[way].append(ways[way](spec))
                    print(f"{name}, {way}: {found[way][-1]}", file=sys.stderr)
            lines += _lines(name, found)
            ratios |= {f"{name}, whole": _ratio(found, "wall"), f"{name}, CPU": _ratio(found, "cpu")}
    head = ["epochs", ">training", ">in a yard", ">whole", ">in a yard", ">CPU", ">in a yard", ">rest"]
    return table(head, lines), ratios


def _lines(name: str, found: Mapping[str, list[Cost]]) -> list[list[str]]:
    lines = []
    for direct, yard in zip(found["alone"], found["yard"], strict=True):
        cells = [f"{getattr(cost, measure):.2f}" for measure in MEASURES for cost in (direct, yard)]
        lines.append([name, *cells, f"{yard.rest:.2f}"])
    ratios = [cell for measure in MEASURES for cell in ("", f"{_ratio(found, measure)[0]:.3f}")]
    return [*lines, ["ratio of the medians", *ratios, ""]]


def _ratio(found: Mapping[str, list[Cost]], measure: str) -> tuple[float, float]:
    values = {way: [getattr(cost, measure) for cost in costs] for way, costs in found.items()}
    noise = max(max(each) / min(each) - 1 if len(each) > 1 else math.inf for each in values.values())
    return statistics.median(values["yard"]) / statistics.median(values["alone"]), noise
