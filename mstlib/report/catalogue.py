"""Every run behind the tables: what is trained, from what and with which seeds, how it is tested.

The graph (`Snakefile`) trains and evaluates what stands here, tables and claims read the records of
it. A run is called VARIANT or VARIANT-TAG; its record is PROFILE-VARIANT-TAG-seedN. A run with `of`
has no weights of its own: it is another one's, detecting with other settings or linked afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from shlex import quote

from mstlib.config import MEGA_VARIANTS, VARIANTS, MSTError

THREE, FOUR, FIVE = range(3), range(4), range(5)  # seeds: more where smaller steps are claimed
Settings = Mapping[str, object]


@dataclass(frozen=True)
class Run:
    """One row of the catalogue.

    train: settings of training that differ from the profile's. start: the pretraining it goes on
    from, "" being the profile's own. of: the run whose weights are used; test: settings changed for
    detecting with them; link: how detections are linked afterwards (`mstlib.link.LINKS`).
    table: of the paper, "" for controls. shipped: whether weights of the first seed are in the
    repository, so that `mst reproduce` can run them.
    """

    variant: str
    tag: str = ""
    table: str = ""
    seeds: range = THREE
    train: Settings = field(default_factory=dict)
    start: str = ""
    of: str = ""
    test: Settings = field(default_factory=dict)
    link: str = ""
    shipped: bool = False

    @property
    def name(self) -> str:
        """See `run_name`."""
        return run_name(self.variant, self.tag)


def run_name(variant: str, *tags: str) -> str:
    """VARIANT or VARIANT-TAG; empty tags do not count."""
    return "-".join(filter(None, [variant, *tags]))


# Tags of trainings: what differs from the profile.
PLACE = {"model.frame_place": 0.5, "model.dalign_residual": False}
SETTINGS: dict[str, Settings] = {
    "place": PLACE,
    "place-free": PLACE | {"train.motion_loss": 0.0},
    "free": {"train.motion_loss": 0.0},
    "label": {"model.instance_rule": "label"},
    "flow": {"model.align": "flow"},
    "ref": {"model.frame_query": "ref"},
    "x": {"model.backbone": "minix"},
    # Many small objects: more proposals, smaller anchors; DEVIATIONS.md 35.
    "uav": {
        "source.format": "miniuav", "data.name": "miniuav-v1", "data.train_clips": 30,
        "data.train_length": 160, "data.test_clips": 20, "data.test_length": 48,
        "model.classes": 3, "model.anchor_sizes": (8, 12, 18, 28),
        "model.reference_proposals": 40, "model.support_proposals": 20, "model.instance_k": 20,
    },
}
STARTS = {"x": SETTINGS["x"], "uav": SETTINGS["uav"]}  # pretrainings beside the profile's own
KS, RS = (2, 4, 7, 8), (0.1, 0.3, 0.4, 0.5)  # beside the profile's own K and r (Tables VI, VII)
LINKED = ("a", "fgfa", "selsa", "rdn", "h", "g")  # Table I, "+ post-processing"


def trained(variant: str, tag: str = "", table: str = "", **more: object) -> Run:
    """A run with weights of its own."""
    return Run(variant, tag, table, train=SETTINGS.get(tag, {}),
               start=tag if tag in STARTS else "", **more)


def percent(r: float) -> int:
    """A share as a whole number of percent, as tags and Table VII have it."""
    return round(100 * r)


def links_of(variant: str) -> tuple[str, ...]:
    """How detections of a variant can be linked: BLR needs learned relations."""
    return ("seqnms", "tubelet") if variant in ("a", "fgfa") else ("seqnms", "tubelet", "blr")


def build() -> list[Run]:
    """All runs, in the order of the tables."""
    return [
        *(trained(v, table="III", seeds=FIVE, shipped=True) for v in VARIANTS),
        *(trained(v, table="I", shipped=True) for v in ("fgfa", "selsa", "rdn")),
        *(trained(v, table="V", shipped=v == "h") for v in MEGA_VARIANTS),
        *(trained(v, "x", "I", shipped=v == "g") for v in ("a", "rdn", "h", "g")),
        *(Run(v, link, "I", of=v, link=link) for v in LINKED for link in links_of(v)),
        *(trained(v, "uav", "II", shipped=v in "ag") for v in ("a", "fgfa", "rdn", "h", "g")),
        trained("g", "flow", "IV"),
        *(Run("g", f"k{k}", "VI", of="g", test={"model.instance_k": k}) for k in KS),
        *(Run("g", f"r{percent(r)}", "VII", of="g", test={"model.instance_r": r}) for r in RS),
        trained("g", "ref", "IX"),
        *(Run("g", mode, seeds=FOUR, of="g", test={"test.mode": mode})
          for mode in ("cached", "causal")),
        *(trained(v, "place") for v in "bdg"), trained("d", "place-free"),
        trained("d", "free"), trained("g", "label"),
    ]


CATALOGUE = {run.name: run for run in build()}


# What a table reads besides the runs that are its own.
ALSO = {"I": ("a", "c", "h", "g"), "IV": ("g",), "VI": ("g",), "VII": ("g",), "VIII": ("a", "g"),
        "IX": ("g",)}
PAPER_TABLES = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
TABLES = (*(f"table_{name}" for name in PAPER_TABLES), "controls", "claims")  # files, in order


def table_name(name: str) -> str:
    """III -> table_III, claims -> claims; MSTError if there is no such table."""
    full = f"table_{name}" if name in PAPER_TABLES else name
    if full not in TABLES:
        raise MSTError(f"there is no table '{name}'; choose one of "
                       f"{', '.join([*PAPER_TABLES, 'controls', 'claims'])}")
    return full


def needs(table: str) -> list[str]:
    """The names of the runs that a table of TABLES is made of."""
    name = table.removeprefix("table_")
    if name == "claims":
        return list(CATALOGUE)
    mine = [run.name for run in CATALOGUE.values() if run.table == ("" if name == "controls" else
                                                                    name)]
    asked = ("b", "c", "d", "g", "fgfa", "h") if name == "controls" else ALSO.get(name, ())
    return mine + [name for name in asked if name not in mine]


def own_runs(start: str) -> list[str]:
    """The names of the runs that go on from a pretraining, "" being the profile's own."""
    return [run.name for run in CATALOGUE.values() if not run.of and run.start == start]


def select(profile: str, runs: object = "", tables: object = "", seeds: object = ""
           ) -> dict[str, Run]:
    """The runs that a batch is asked for, by name, with the seeds that it is asked for.

    runs: names; tables: as I or V, all that they read unless `runs` says which; seeds: whole
    numbers; each as a list or as text with commas. Unless told it is all at `mini`, Table III at
    other profiles. MSTError for an unknown name or seed.
    """
    names, tables, seeds = (items(of) for of in (runs, tables, seeds))
    for name in names:
        find_run(name)
    for table in tables:
        if table not in PAPER_TABLES:
            raise MSTError(f"no table is called '{table}'; there are {', '.join(PAPER_TABLES)}")
    asked = names or [name for table in tables for name in needs(f"table_{table}")]
    names = asked or list(CATALOGUE if profile == "mini" else VARIANTS)
    names += [CATALOGUE[name].of for name in names if CATALOGUE[name].of]  # whose weights they use
    runs = {name: limited(run, seeds) for name, run in CATALOGUE.items() if name in names}
    known = {str(seed) for run in runs.values() for seed in run.seeds}
    for seed in seeds:
        if seed not in known:
            raise MSTError(f"no run that is asked for has a seed '{seed}'; seeds are 0 to "
                           f"{max(CATALOGUE[name].seeds[-1] for name in runs)}")
    return runs


def items(of: object) -> list[str]:
    """A list, or text with commas, as a list of texts."""
    parts = of if isinstance(of, list | tuple) else str(of).strip("[]").split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def limited(run: Run, seeds: list[str]) -> Run:
    """The run with those of its seeds that are asked for, or all of them."""
    return replace(run, seeds=[s for s in run.seeds if not seeds or str(s) in seeds])


def find_run(name: str) -> Run:
    """The run of a name; MSTError if there is none."""
    if name not in CATALOGUE:
        raise MSTError(f"no run is called '{name}'; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def options(settings: Settings) -> str:
    """Settings as options of the command line, quoted for a shell."""
    return " ".join(f"--set {name}={text(value)}" for name, value in settings.items())


def text(value: object) -> str:
    """A value as the command line takes it, quoted where a shell would not leave it alone."""
    if isinstance(value, tuple):
        return f"'{','.join(map(str, value))},'"
    return quote(str(value))


def start_name(start: str, seed: int) -> str:
    """The name of a pretraining: the profile's own ("") or one of STARTS."""
    return run_name("pretrained", start, f"seed{seed}")
