# The batch as a graph:
#   data -> pretraining -> run x seed -> evaluation -> tables and figures -> notebooks -> index page
#
#   mst reproduce                     evaluate the shipped checkpoints, compare with the records
#   mst reproduce --train             train everything, write new records, tables and checkpoints
#   mst reproduce --train --on slurm  the same graph on a cluster (workflow/slurm/config.yaml)
#
# What is run stands in mstlib/report/catalogue.py. Rules call `mst` and nothing else: each line
# below can be pasted into a terminal. The index page is written at the end, whatever failed.

import subprocess
import sys
from pathlib import Path

from mstlib.profiles import WARM
from mstlib.report.catalogue import (
    CATALOGUE, LINKED, STARTS, TABLES, items, links_of, needs, options, own_runs, select, start_name)

PROFILE = config.get("profile", "mini")
TRAIN = config.get("train", False)
RUNS = select(PROFILE, config.get("runs", ""), config.get("tables", ""), config.get("seeds", ""))
NAMES = list(RUNS)  # name -> Run with the seeds that are asked for
FIRST = min((seed for run in RUNS.values() for seed in run.seeds), default=0)
PRETRAIN_SEED = config.get("pretrain_seed", 0)  # one for all, as the paper has one backbone
DEVICE = "" if PROFILE in WARM else "--device auto"
WORK = config.get("work", f"build/{PROFILE}")
# The committed results are mini's: a trial with another profile must not overwrite them.
RESULTS = config.get("results", "results" if PROFILE == "mini" else f"{WORK}/results")
BENCH = "results/bench"
NOTEBOOK = config.get("notebook", "notebooks/09_tables.py")

# Training starts from nothing: a clone holds committed results, and they must not pass for its own.
# They are replaced when all is done. Evaluating what is shipped leaves them as they are.
OURS = f"{WORK}/trained" if TRAIN else RESULTS
RECORD = f"{OURS}/runs/{PROFILE}-{{run}}-seed{{seed}}.json"
CHECKPOINT = f"{OURS}/checkpoints/{PROFILE}-{{run}}.safetensors"
WEIGHTS = f"{WORK}/weights/{{run}}-seed{{seed}}.safetensors" if TRAIN else CHECKPOINT
# What an evaluation writes: the record itself, or one to compare the committed record with.
MADE = RECORD if TRAIN else f"{WORK}/reproduced/{PROFILE}-{{run}}-seed{{seed}}.json"
SHIPPED = [name for name, run in RUNS.items() if run.shipped and FIRST in run.seeds]
REPORT = f"{WORK}/reproduced.json"
NUMBERS = items(config.get("tables", ""))  # of the tables that are asked for, none: all
ASKED = [t for t in TABLES if (t.removeprefix("table_") in [*NUMBERS, "claims"] if NUMBERS
                               else any(n in RUNS for n in needs(t)))]
TABLE_FILES = [f"{OURS}/tables/{table}.{kind}" for kind in ("csv", "md") for table in ASKED]
NOTEBOOKS = [f"{WORK}/notebooks/{t}.ipynb" for t in ASKED if t.startswith("table_")]
FIGURE = f"{OURS if TRAIN else WORK}/figures/fig{{figure}}.png"
DRAWN = ["1", "5", "6"] if {"a", "d", "f", "g"} <= set(SHIPPED) and not NUMBERS else []


def records(names) -> list[str]:
    """The records of runs: all of them where we train, else those that are committed."""
    paths = [RECORD.format(run=name, seed=seed) for name in names if name in RUNS
             for seed in RUNS[name].seeds]
    return paths if TRAIN else [path for path in paths if Path(path).exists() or path in TRACKED]


def tracked() -> set[str]:
    """Records that the repository holds, on disk or not: a deleted one is restored."""
    done = subprocess.run(["git", "-C", RESULTS, "ls-files", "runs"], capture_output=True, text=True)
    return {f"{RESULTS}/{path}" for path in done.stdout.split()}


TRACKED = set() if TRAIN else tracked()


def own(run) -> str:
    """The name of the run whose weights a run uses."""
    return CATALOGUE[run].of or run


def pretrained(name) -> list[str]:
    """What a run goes on from: a pretraining, or nothing where a profile trains end to end."""
    start = start_name(RUNS[name].start, PRETRAIN_SEED)
    return [f"{WORK}/{start}.pt"] if PROFILE in WARM else []


def evaluated() -> list[str]:
    """What is evaluated in shipped mode: runs whose weights ship, in their first seed, and that
    there is a record of to compare with."""
    return [MADE.format(run=n, seed=FIRST) for n in NAMES
            if own(n) in SHIPPED and records([n])]


def ready(name, split) -> str:
    """The file that says that a run's data is generated."""
    scene = "uav" if CATALOGUE[name].start == "uav" else "vid"
    return f"{WORK}/data/{scene}-{split}.ready"


# One thread a job: two one-thread trainings are half as fast again as one with two threads.
BIN = Path(sys.executable).parent
shell.prefix(f'set -euo pipefail; export PATH="{BIN}:$PATH" OMP_NUM_THREADS=1; ')


wildcard_constraints:
    run="[a-z]+(-[a-z0-9-]+)?",
    start="(-[a-z]+)?",
    table="|".join(TABLES),
    seed=r"\d+",


rule all:
    localrule: True
    input:
        records(NAMES),
        TABLE_FILES,
        NOTEBOOKS,
        expand(FIGURE, figure=DRAWN),
        f"{WORK}/published" if TRAIN else REPORT,


rule records:
    localrule: True
    input:
        records(NAMES) if TRAIN else [],


rule data:
    output:
        touch(f"{WORK}/data/{{scene}}-{{split}}.ready"),
    log:
        f"{WORK}/logs/data-{{scene}}-{{split}}.log",
    benchmark:
        f"{WORK}/times/data-{{scene}}-{{split}}.tsv"
    params:
        options=lambda w: options(STARTS[w.scene]) if w.scene in STARTS else "",
    message:
        "generated data, {wildcards.scene} {wildcards.split}"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "mst data --profile {PROFILE} --split {wildcards.split} {params.options} > {log} 2>&1"


if TRAIN:

    # States are no outputs: Snakemake deletes those of a stopped job, and it could not resume.
    # A new pretraining makes everything begun from the last one worthless.
    rule pretrain:
        input:
            lambda w: f"{WORK}/data/{'uav' if w.start == '-uav' else 'vid'}-train.ready",
        output:
            f"{WORK}/pretrained{{start}}-seed{PRETRAIN_SEED}.pt",
        log:
            f"{WORK}/logs/pretrained{{start}}.log",
        benchmark:
            f"{WORK}/times/pretrained{{start}}.tsv"
        params:
            state=f"{WORK}/unfinished/pretrained{{start}}-seed{PRETRAIN_SEED}.pt",
            begun=lambda w: f"{WORK}/pretrained{w.start}-seed*.conv4.npy " + " ".join(
                f"{WORK}/unfinished/{n}-seed*.pt" for n in own_runs(w.start.removeprefix("-"))),
            options=lambda w: options(STARTS.get(w.start.removeprefix("-"), {})),
        message:
            "pretraining on single frames{wildcards.start}"
        threads: 1
        priority: 10
        resources:
            mem_mb=6000,
            runtime=240,
        shell:
            "mst pretrain --profile {PROFILE} --seed {PRETRAIN_SEED} {params.options}"
            " --out {params.state} > {log} 2>&1"
            " && rm -f {params.begun} && mv {params.state} {output}"

    rule train:
        input:
            data=lambda w: ready(w.run, "train"),
            pretrained=lambda w: pretrained(w.run),
        output:
            weights=f"{WORK}/weights/{{run}}-seed{{seed}}.safetensors",
            summary=f"{WORK}/weights/{{run}}-seed{{seed}}.json",
        log:
            f"{WORK}/logs/train-{{run}}-seed{{seed}}.log",
        benchmark:
            f"{WORK}/times/train-{{run}}-seed{{seed}}.tsv"
        params:
            state=f"{WORK}/unfinished/{{run}}-seed{{seed}}.pt",
            variant=lambda w: RUNS[w.run].variant,
            init=lambda w: " ".join(f"--init {path}" for path in pretrained(w.run)),
            options=lambda w: options(RUNS[w.run].train),
        message:
            "training variant ({wildcards.run}), seed {wildcards.seed}"
        threads: 1
        resources:
            mem_mb=6000,
            runtime=240,
        shell:
            "mst train --profile {PROFILE} --variant {params.variant} --seed {wildcards.seed}"
            " {params.init} --out {params.state} --weights {output.weights} {params.options}"
            " > {log} 2>&1 && rm -f {params.state}"

    rule ship:
        input:
            f"{WORK}/weights/{{run}}-seed{FIRST}.safetensors",
        output:
            CHECKPOINT,
        message:
            "weights of variant ({wildcards.run}), seed {FIRST}, to {output}"
        localrule: True
        shell:
            "cp {input} {output}.tmp && mv {output}.tmp {output}"

    rule publish:
        input:
            records(NAMES),
            TABLE_FILES,
            expand(FIGURE, figure=DRAWN),
            expand(CHECKPOINT, run=SHIPPED),
        output:
            touch(f"{WORK}/published"),
        params:
            folders=lambda w: " ".join(
                f"{OURS}/{n}" for n in ["runs", "tables", "checkpoints"] + ["figures"] * bool(DRAWN)),
        message:
            "records, tables and checkpoints to {RESULTS}"
        localrule: True
        shell:
            "mkdir -p {RESULTS} && cp -r {params.folders} {RESULTS}"

else:

    rule report:
        input:
            evaluated(),
            records(NAMES),
        output:
            REPORT,
        params:
            made=evaluated(),
        message:
            "comparing with the committed records"
        localrule: True
        shell:
            "mst compare {params.made} --runs {RESULTS}/runs --out {output}"

    rule restore:
        output:
            RECORD,
        params:
            path=f"runs/{PROFILE}-{{run}}-seed{{seed}}.json",
        message:
            "{output} was deleted; as the repository holds it"
        localrule: True
        shell:
            "git -C {RESULTS} show HEAD:./{params.path} > {output}.tmp && mv {output}.tmp {output}"


rule evaluate:
    input:
        data=lambda w: ready(own(w.run), "test"),
        weights=lambda w: WEIGHTS.format(run=own(w.run), seed=w.seed),
    output:
        MADE,
    log:
        f"{WORK}/logs/evaluate-{{run}}-seed{{seed}}.log",
    benchmark:
        f"{WORK}/times/evaluate-{{run}}-seed{{seed}}.tsv"
    params:
        tag=lambda w: CATALOGUE[w.run].tag,
        options=lambda w: options(CATALOGUE[w.run].test),
    message:
        "evaluating variant ({wildcards.run}), seed {wildcards.seed}"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "mst evaluate {input.weights} --split test --tag '{params.tag}' {params.options} {DEVICE}"
        " --out {output} > {log} 2>&1"


for detector in LINKED:  # all ways of linking come from one pass of the detector

    rule:
        name:
            f"link_{detector}"
        input:
            data=f"{WORK}/data/vid-test.ready",
            weights=WEIGHTS.replace("{run}", detector),
        output:
            [MADE.replace("{run}", f"{detector}-{link}") for link in links_of(detector)],
        log:
            f"{WORK}/logs/link-{detector}-seed{{seed}}.log",
        benchmark:
            f"{WORK}/times/link-{detector}-seed{{seed}}.tsv"
        params:
            links=" ".join(f"--link {link}" for link in links_of(detector)),
            folder=str(Path(MADE).parent),
        message:
            f"linking the detections of ({detector}), seed {{wildcards.seed}}"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        shell:
            "mst evaluate {input.weights} --split test {params.links} {DEVICE}"
            " --out {params.folder} > {log} 2>&1"


ruleorder: link_a > link_fgfa > link_selsa > link_rdn > link_h > link_g > evaluate


rule table:
    input:
        lambda w: records(needs(w.table)),
    output:
        f"{OURS}/tables/{{table}}.csv",
        f"{OURS}/tables/{{table}}.md",
    log:
        f"{WORK}/logs/{{table}}.log",
    benchmark:
        f"{WORK}/times/{{table}}.tsv"
    params:
        name=lambda w: w.table.removeprefix("table_"),
    message:
        "{wildcards.table} from the run records"
    localrule: True
    shell:
        "mst table {params.name} --profile {PROFILE} --results {OURS} --bench {BENCH}"
        " --out {OURS}/tables > {log} 2>&1"


rule figure:
    input:
        expand(CHECKPOINT, run=["a", "d", "f", "g"]),
        f"{WORK}/data/vid-test.ready",
    output:
        FIGURE,
    log:
        f"{WORK}/logs/figure-{{figure}}.log",
    benchmark:
        f"{WORK}/times/figure-{{figure}}.tsv"
    message:
        "Figure {wildcards.figure}"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "mst figure {wildcards.figure} --profile {PROFILE} --results {OURS} --out {output}"
        " > {log} 2>&1"


rule table_notebook:
    input:
        notebook=NOTEBOOK,
        tables=[f"{OURS}/tables/{{table}}.csv", f"{OURS}/tables/claims.csv"],
    output:
        f"{WORK}/notebooks/{{table}}.ipynb",
    log:
        f"{WORK}/logs/notebook-{{table}}.log",
    benchmark:
        f"{WORK}/times/notebook-{{table}}.tsv"
    params:
        name=lambda w: w.table.removeprefix("table_"),
    message:
        "running {input.notebook} on {wildcards.table}"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        kernels=1,  # two that start at once may pick the same port
    shell:
        "mst notebook {input.notebook} {output} --parameter table={params.name}"
        " --parameter profile={PROFILE} --parameter results={OURS} > {log} 2>&1"


def write_page():
    """The index page, of what is there and what is not."""
    shell("mst index --work {WORK} " + " ".join(MADE_AT_THE_END))


MADE_AT_THE_END = [
    *([] if TRAIN else [REPORT]), *reversed([f for f in TABLE_FILES if f.endswith("csv")]),
    *expand(FIGURE, figure=DRAWN), *NOTEBOOKS]


onsuccess:
    write_page()


onerror:
    write_page()
