# The batch as a graph:
#   data -> pretraining -> variant x seed -> evaluation -> tables -> notebook -> index page
#
#   mst reproduce                     evaluate the shipped checkpoints, compare with the records
#   mst reproduce --train             train everything, write new records, tables and checkpoints
#   mst reproduce --train --on slurm  the same graph on a cluster (workflow/slurm/config.yaml)
#
# Rules call `mst` and nothing else: each line below can be pasted into a terminal.

import sys
from pathlib import Path

from mstlib.config import VARIANTS as ALL_VARIANTS
from mstlib.report.controls import RUNS, options, split_name

PROFILE = config.get("profile", "mini")
TRAIN = config.get("train", False)
VARIANTS = list(config.get("variants", ALL_VARIANTS))  # a list, or letters: variants=ag
SEEDS = [int(seed) for seed in config.get("seeds", [0, 1, 2, 3])]
SHIPPED_SEED = SEEDS[0]  # whose weights go into the repository
CONTROLS = list(RUNS) if config.get("controls", PROFILE == "mini") else []
PRETRAIN_SEED = config.get("pretrain_seed", 0)  # one for all, as the paper has one backbone
WORK = config.get("work", f"build/{PROFILE}")
# The committed results are mini's: a trial with another profile must not overwrite them.
RESULTS = config.get("results", "results" if PROFILE == "mini" else f"{WORK}/results")
NOTEBOOK = config.get("notebook", "notebooks/09_tables.py")

# Training starts from nothing: a clone holds committed results, and they must not pass for its own.
# They are replaced when all is done. Evaluating what is shipped leaves them as they are.
OURS = f"{WORK}/trained" if TRAIN else RESULTS
TABLES = f"{OURS}/tables" if TRAIN else f"{WORK}/tables"
TABLE_III = expand(f"{TABLES}/{{name}}.csv", name=["table_III", "table_III_claims", "controls"])
RECORD = f"{OURS}/runs/{PROFILE}-{{run}}-seed{{seed}}.json"
RECORDS = (
    expand(RECORD, run=VARIANTS, seed=SEEDS)
    + [RECORD.format(run=r, seed=s) for r in CONTROLS for s in RUNS[r] if s in SEEDS]
    if TRAIN
    else sorted(map(str, Path(RESULTS, "runs").glob(f"{PROFILE}-*.json")))
)
SHIPPED = f"{OURS}/checkpoints/{PROFILE}-{{variant}}.safetensors"
REPORT = f"{WORK}/reproduced.json"

# One thread a job: two one-thread trainings are half as fast again as one with two threads.
BIN = Path(sys.executable).parent
shell.prefix(f'set -euo pipefail; export PATH="{BIN}:$PATH" OMP_NUM_THREADS=1; ')


wildcard_constraints:
    variant="[a-g]",
    run="[a-g](-[a-z-]+)?",
    seed=r"\d+",


rule all:
    localrule: True
    input:
        f"{WORK}/index.html",
        f"{WORK}/published" if TRAIN else expand(SHIPPED, variant=VARIANTS),


rule data:
    output:
        touch(f"{WORK}/data/{{split}}.ready"),
    message:
        "MiniVID, {wildcards.split} split"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "mst data --profile {PROFILE} --split {wildcards.split}"


if TRAIN:

    # States are no outputs: Snakemake deletes those of a stopped job, and it could not resume.
    # A new pretraining makes everything begun from the last one worthless.
    rule pretrain:
        input:
            f"{WORK}/data/train.ready",
        output:
            f"{WORK}/pretrained-seed{PRETRAIN_SEED}.pt",
        params:
            state=f"{WORK}/unfinished/pretrained-seed{PRETRAIN_SEED}.pt",
            begun=f"{WORK}/pretrained-*.conv4.npy {WORK}/unfinished/[a-g]*-seed*.pt",
        message:
            "pretraining on single frames"
        threads: 1
        resources:
            mem_mb=6000,
            runtime=240,
        shell:
            "mst pretrain --profile {PROFILE} --seed {PRETRAIN_SEED} --out {params.state}"
            " && rm -f {params.begun} && mv {params.state} {output}"

    rule train:
        input:
            data=f"{WORK}/data/train.ready",
            pretrained=f"{WORK}/pretrained-seed{PRETRAIN_SEED}.pt",
        output:
            weights=f"{WORK}/weights/{{run}}-seed{{seed}}.safetensors",
            summary=f"{WORK}/weights/{{run}}-seed{{seed}}.json",
        params:
            state=f"{WORK}/unfinished/{{run}}-seed{{seed}}.pt",
            variant=lambda w: split_name(w.run)[0],
            options=lambda w: options(w.run),
        message:
            "training variant ({wildcards.run}), seed {wildcards.seed}"
        threads: 1
        resources:
            mem_mb=6000,
            runtime=240,
        shell:
            "mst train --profile {PROFILE} --variant {params.variant} --seed {wildcards.seed}"
            " --init {input.pretrained} --out {params.state} --weights {output.weights}"
            " {params.options}"
            " && rm -f {params.state}"

    rule evaluate:
        input:
            data=f"{WORK}/data/test.ready",
            weights=f"{WORK}/weights/{{run}}-seed{{seed}}.safetensors",
            summary=f"{WORK}/weights/{{run}}-seed{{seed}}.json",
        output:
            RECORD,
        params:
            tag=lambda w: split_name(w.run)[1],
        message:
            "evaluating variant ({wildcards.run}), seed {wildcards.seed}"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        shell:
            "mst evaluate {input.weights} --split test --tag '{params.tag}' --out {output}"

    rule ship:
        input:
            f"{WORK}/weights/{{variant}}-seed{SHIPPED_SEED}.safetensors",
        output:
            SHIPPED,
        message:
            "weights of variant ({wildcards.variant}), seed {SHIPPED_SEED}, to {output}"
        localrule: True
        shell:
            "cp {input} {output}.tmp && mv {output}.tmp {output}"

    rule publish:
        input:
            RECORDS,
            TABLE_III,
            expand(SHIPPED, variant=VARIANTS),
        output:
            touch(f"{WORK}/published"),
        message:
            "records, tables and checkpoints to {RESULTS}"
        localrule: True
        shell:
            "mkdir -p {RESULTS} && cp -r {OURS}/runs {OURS}/tables {OURS}/checkpoints {RESULTS}"

else:

    rule evaluate_shipped:
        input:
            data=f"{WORK}/data/test.ready",
            weights=SHIPPED,
        output:
            f"{WORK}/reproduced/{{variant}}.json",
        message:
            "evaluating the shipped variant ({wildcards.variant})"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        shell:
            "mst evaluate {input.weights} --split test --out {output}"

    rule report:
        input:
            reproduced=expand(f"{WORK}/reproduced/{{variant}}.json", variant=VARIANTS),
            records=RECORDS,
        output:
            REPORT,
        message:
            "comparing with the committed records"
        localrule: True
        shell:
            "mst compare {input.reproduced} --runs {RESULTS}/runs --out {output}"


rule tables:
    input:
        RECORDS,
    output:
        TABLE_III,
    message:
        "Table III from the run records"
    localrule: True
    shell:
        "mst table III --profile {PROFILE} --results {OURS} --out {TABLES}"


rule table_notebook:
    input:
        notebook=NOTEBOOK,
        tables=TABLE_III,
    output:
        f"{WORK}/table_III.ipynb",
    message:
        "running {input.notebook}"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "mst notebook {input.notebook} {output} --parameter table=III"
        " --parameter profile={PROFILE} --parameter results={OURS}"


rule index:
    input:
        tables=TABLE_III,
        notebook=f"{WORK}/table_III.ipynb",
        report=[] if TRAIN else REPORT,
    output:
        f"{WORK}/index.html",
    message:
        "index page {output}"
    localrule: True
    shell:
        "mst index {input} --out {output}"
