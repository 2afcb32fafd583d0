"""What may be imported when: a bare GPU image (torch, torchvision, numpy) can train."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
BARE = """
import importlib.abc, importlib.machinery, sys
sys.path.insert(0, {tests!r})

class Nothing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"pandas", "tqdm", "matplotlib", "pycocotools", "safetensors",
                                  "typer", "IPython", "papermill", "jupytext", "ipywidgets",
                                  "timm", "av", "tensorboard"}}:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ModuleNotFoundError(f"{{spec.name}} is not part of a bare image", name=spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Nothing())
"""


def run_bare(code: str) -> subprocess.CompletedProcess:
    """Run Python code where only torch, torchvision, numpy and what they need can be imported."""
    program = BARE.format(tests=str(TESTS)) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_a_bare_image_generates_trains_and_detects(tmp_path):
    done = run_bare(f"""
from pathlib import Path
from mstlib.profiles import get_config
from mstlib.training.experiment import run_pretraining, clips_of
from mstlib.training.train import train_variant
folder = Path({str(tmp_path)!r})
config = get_config("tiny", "g")
run_pretraining(config, 0, folder / "pre.pt", folder)
train_variant(config, clips_of(config, "train", folder), 0, folder / "pre.pt", folder / "g.pt")
""")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "g.pt").exists()


def test_every_module_imports_without_the_rest():
    names = [".".join(p.relative_to(TESTS.parent).with_suffix("").parts)
             for p in sorted((TESTS.parent / "mstlib").rglob("*.py"))
             if p.parent.name != "cli" and not p.stem.startswith("__")]  # cli needs typer
    done = run_bare("\n".join(f"import {name}" for name in names))
    assert done.returncode == 0, done.stderr


def test_the_block_really_blocks():
    assert "not part of a bare image" in run_bare("import pandas").stderr
