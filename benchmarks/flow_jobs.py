"""The trainings behind `flows.py`, in order of value; about seven and a half hours of a CPU core.

The flow of all rates gets `FLOW` steps with either context, and is then taken to twelve anchors. Of
its rivals, each family has three models of one rate, of which two take about as long. A teacher and
a student share their weight of distortion.
"""

from __future__ import annotations

from trainings import Job

FLOW, MORE_ANCHORS = 3600, 1200  # steps of msinn-small, and of the twelve anchors after them
RIVAL = 3000  # steps of a model of one rate
TEACHER, STUDENT, EARLY = 1400, 1400, 350  # steps; where the early teacher stopped
LONGER = 1400  # steps that teachers and students go on afterwards, and once more
NOISY = 4200  # steps of teachers that go on with noise instead
# What the students' flow may not say by what is not coded, the third time.
KEPT = {"distillation": "0", "side_distortion_weight": "2"}
RATES = (0.013, 0.0035, 0.0067, 0.0018)  # weights of distortion of teachers and students
ABLATED = RATES[:2]
RIVAL_RATES = (0.18, 0.0932, 0.025)
RIVALS = ("scale-hyperprior", "factorized")
COMMON = {"batch": "4", "crop": "128"}
# Twelve anchors start from a trained model, which shall change little.
FURTHER = {"learning_rate": "1e-3", "matrix_learning_rate": "5e-4"}
EXACT, FLOAT, TWELVE = "msinn-exact", "msinn-float", "msinn-twelve"
ANCHORS = {EXACT: 8, FLOAT: 8, TWELVE: 12}
# What is left out of a student, and the settings that say so.
ABLATIONS = {
    "unmixed": {"model": "ilc-small-unmixed"},
    "undistilled": {"distillation": "0"},
}
STUDENTS = ("student", *ABLATIONS, "early")
FURTHER_STUDENTS = ("student-longer", "student-kept")
TEACHERS = ("teacher", "teacher-early", "teacher-longer", "teacher-longest", "teacher-noisy")
# Names of models of a single rate, without it.
SINGLES = (*RIVALS, *(f"ilc-{kind}" for kind in (*TEACHERS, *STUDENTS, *FURTHER_STUDENTS)))


def _flow(name: str, model: str, settings: dict[str, str], start: str = "") -> Job:
    return Job(name, "msinn", start, COMMON | {"model": model} | settings)


def _teacher(weight: float) -> Job:
    settings = COMMON | {"distortion_weight": str(weight), "steps": str(TEACHER)}
    settings["validate_every"] = str(EARLY)  # a snapshot
    return Job(f"ilc-teacher-{weight}", "ilc-teacher", "", settings, weight)


def _student(weight: float, kind: str, settings: dict[str, str]) -> Job:
    settings = COMMON | {"steps": str(STUDENT)} | settings
    teacher = "ilc-teacher-early" if kind == "early" else "ilc-teacher"
    return Job(f"ilc-{kind}-{weight}", "ilc", "", settings, weight, teacher=f"{teacher}-{weight}")


def _longer(weight: float) -> list[Job]:
    """Both go on, twice: the students without distillation, as late a teacher may hold them back.

    At last students shall also put little of the picture into what is not coded.
    """
    settings = COMMON | {"distortion_weight": str(weight), "steps": str(LONGER)}
    return [
        Job(f"ilc-{name}-{weight}", recipe, f"ilc-{start}-{weight}", settings | own, weight)
        for name, start, recipe, own in (
            ("teacher-longer", "teacher", "ilc-teacher", {}),
            ("student-longer", "student", "ilc", {"distillation": "0"}),
            ("teacher-longest", "teacher-longer", "ilc-teacher", {}),
            ("student-kept", "student-longer", "ilc", KEPT),
        )
    ]


def _noisy(weight: float) -> Job:
    """A teacher that goes on with noise instead of rounding, as those published are trained."""
    settings = COMMON | {"distortion_weight": str(weight), "steps": str(NOISY)}
    rate = "2e-3" if weight == max(RATES) else "1e-3"  # there noise is small, and says little
    settings |= {"noisy_synthesis": "true", "matrix_learning_rate": rate}
    start = f"ilc-teacher-longer-{weight}"
    return Job(f"ilc-teacher-noisy-{weight}", "ilc-teacher", start, settings, weight)


def _rival(family: str, weight: float) -> Job:
    settings = COMMON | {"distortion_weight": str(weight), "steps": str(RIVAL)}
    return Job(f"{family}-{weight}", family, "", settings, weight)


def _early(weight: float) -> list[Job]:
    """A teacher as it was long before its end, and what it teaches."""
    name, snapshot = f"ilc-teacher-early-{weight}", f"average-{EARLY:06d}.pt"
    known = _teacher(weight)
    teacher = Job(name, known.recipe, known.name, single=weight, snapshot=snapshot)
    return [teacher, _student(weight, "early", {})]


JOBS: list[Job] = [
    _flow(EXACT, "msinn-small", {"steps": str(FLOW)}),
    _flow(FLOAT, "msinn-small-float", {"steps": str(FLOW)}),
    _flow(TWELVE, "msinn-small-12", FURTHER | {"steps": str(MORE_ANCHORS)}, EXACT),
    *(job for w in RATES for job in (_teacher(w), _student(w, "student", {}))),
    *(job for w in RATES for job in _longer(w)),
    *(_noisy(w) for w in RATES),
    *(_student(w, kind, what) for w in ABLATED for kind, what in ABLATIONS.items()),
    *_early(RATES[0]),
    *(_rival(family, weight) for family in RIVALS for weight in RIVAL_RATES),
]


def of_kind(prefix: str) -> list[Job]:
    """The models of a single rate whose names begin so and end with their weight, coarse first."""
    found = [job for job in JOBS if job.single and job.name == f"{prefix}-{job.single}"]
    return sorted(found, key=lambda job: job.single)
