"""The trainings behind `variable_rate.py`: what starts from what, and which settings differ.

Equal data and steps: models of every rate, and the finest of a single rate, go on from the same
base for `MORE` steps with the same batches and learning rates; coarser ones of a single rate are
trained for as many steps in all from their own start, where the quantiser step suits their weight.
"long" is one of every rate whose further training takes as long as a model of a single rate.
"""

from __future__ import annotations

from trainings import Job

BASE, MORE = 4000, 1000  # steps
FINEST = 0.0483  # weight of distortion; more is beyond networks of this size
COARSER = (0.013, 0.0035, 0.0009)  # of the other models of a single rate
COMMON = {"batch": "4", "crop": "128"}
FURTHER = {"steps": str(MORE), "learning_rate": "5e-4", "matrix_learning_rate": "2e-4"}
SYSTEMS = ("mean-scale", "scale")
ABLATED = "mean-scale"  # the system of ablation and competitors
COMPETITORS = ("theis", "qvrf", "cui", "choi", "song", "song-gains")
SECOND_SEED = {"seed": "2"}
# Schemes and parts, each against "vbr": the minimum norm point with all parts.
ABLATION = {
    "plain": {"scheme": "random", "without": "offsets,hyper_step"},
    "offsets": {"scheme": "random", "without": "hyper_step"},
    "hyper-step": {"scheme": "random", "without": "offsets"},
    "random": {"scheme": "random"},
    "random-seed-2": {"scheme": "random", **SECOND_SEED},
    "uniform": {"scheme": "uniform"},
    "vbr-seed-2": SECOND_SEED,
}


def _system(system: str) -> list[Job]:
    """The base of a system, its models of a single rate, and the one of every rate."""
    recipe, base = f"{system}-hyperprior", f"{system}-base"
    finest = {"distortion_weight": str(FINEST)}
    jobs = [Job(base, recipe, "", COMMON | finest | {"steps": str(BASE)})]
    jobs.append(Job(f"{system}-{FINEST}", recipe, base, COMMON | FURTHER | finest, FINEST))
    for weight in COARSER:
        settings = COMMON | {"distortion_weight": str(weight), "steps": str(BASE + MORE)}
        jobs.append(Job(f"{system}-{weight}", recipe, "", settings, weight))
    jobs.append(Job(f"{system}-vbr", "vbr", base, COMMON | FURTHER))
    longer = {"scheme": "random", "steps": str(BASE + MORE)}
    jobs.append(Job(f"{system}-long", "vbr", base, COMMON | FURTHER | longer))
    return jobs


def _variant(name: str, settings: dict[str, str]) -> Job:
    return Job(f"{ABLATED}-{name}", "vbr", f"{ABLATED}-base", COMMON | FURTHER | settings)


def _competitor(method: str) -> Job:
    model = f"{ABLATED}-hyperprior-small-{method}"
    return _variant(method, {"scheme": "random", "model": model})


JOBS: list[Job] = [
    *(job for system in SYSTEMS for job in _system(system)),
    *(_variant(name, settings) for name, settings in ABLATION.items()),
    *map(_competitor, COMPETITORS),
]


def single_rate(system: str) -> list[Job]:
    """The models of a single rate of a system, from fine to coarse."""
    return [job for job in _system(system) if job.single]


def every_rate(system: str) -> list[Job]:
    """The models of every rate of a system."""
    return [job for job in JOBS if job.recipe == "vbr" and job.name.startswith(f"{system}-")]
