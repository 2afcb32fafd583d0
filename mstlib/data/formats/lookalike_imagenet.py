"""Look-alikes of ImageNet VID and DET: frames, their XML files, and the lists of the parents' code.

Not part of the paper.
"""

from collections.abc import Iterator
from pathlib import Path

from mstlib.data.formats.imagenet_xml import SYNSETS
from mstlib.data.formats.lookalike_films import Film, Seen, write_image
from mstlib.fileio import write_text

SYNSET_OF = tuple(SYNSETS)[:16:2]  # MiniVID's label k is shown as synset k - 1 of these


def write_vid(folder: Path, films: Iterator[Film]) -> None:
    """Three training snippets, two of val, one of test without annotation; every second training
    frame is in the list of references, and the boxes of the others are generated."""
    package = "ILSVRC2015_VID_train_0000/ILSVRC2015_train_0000"
    stems = [*(f"train/{package}{k}000" for k in range(3)),
             *(f"val/ILSVRC2015_val_0000{k}000" for k in range(2)), "test/ILSVRC2015_test_00000000"]
    lists: dict[str, list[str]] = {}
    for stem, film in zip(stems, films, strict=False):
        split, length = stem.split("/")[0], len(film.frames)
        for t in range(length):
            write_image(folder / f"Data/VID/{stem}/{t:06d}.JPEG", film.frames[t])
            if split != "test":
                write_text(folder / f"Annotations/VID/{stem}/{t:06d}.xml",
                           xml_text(f"{t:06d}", film.frames[t].shape, film.seen[t], tracks=True,
                                    generated=t % 2 == 0))
            if split == "train" and t % 2:
                lists.setdefault("VID_train_15frames", []).append(f"{stem} 1 {t} {length}")
            if split == "val":
                frames = lists.setdefault("VID_val_frames", [])
                frames.append(f"{stem}/{t:06d} {len(frames) + 1}")
                lists.setdefault("VID/val", []).append(frames[-1].removeprefix("val/"))
        if split == "val":
            first = len(lists["VID_val_frames"]) - length + 1
            lists.setdefault("VID_val_videos", []).append(f"{stem} {first} 0 {length}")
    for name, lines in lists.items():
        write_text(folder / "ImageSets" / f"{name}.txt", "\n".join(lines) + "\n")


def write_det(folder: Path, films: Iterator[Film]) -> None:
    """Four still images; each also shows an accordion, which is none of the 30 classes."""
    lines = []
    for k, film in zip(range(4), films, strict=False):
        wnid = SYNSET_OF[film.seen[0][0].label - 1] if film.seen[0] else SYNSET_OF[0]
        stem = f"train/ILSVRC2013_train/{wnid}/{wnid}_{k}"
        write_image(folder / f"Data/DET/{stem}.JPEG", film.frames[0])
        text = xml_text(f"{wnid}_{k}", film.frames[0].shape, film.seen[0], tracks=False)
        other = _xml_object("n02672831", (1, 1, 9, 9), "")
        write_text(folder / f"Annotations/DET/{stem}.xml",
                   text.replace("</annotation>", f"{other}</annotation>"))
        lines.append(f"{stem} 1")
    write_text(folder / "ImageSets/DET_train_30classes.txt", "\n".join(lines) + "\n")


def xml_text(name: str, shape: tuple[int, ...], seen: list[Seen], tracks: bool,
             generated: bool = False) -> str:
    """The annotation of one image (H, W, 3): inclusive pixel indices, as in the official files."""
    objects = "".join(
        _xml_object(SYNSET_OF[s.label - 1], (*s.box[:2], s.box[2] - 1, s.box[3] - 1),
                    f"\n\t\t<occluded>{int(s.occluded)}</occluded>\n\t\t<generated>{int(generated)}"
                    "</generated>" if tracks else "", s.track if tracks else None) for s in seen)
    return (f"<annotation>\n\t<filename>{name}</filename>\n\t<source>\n\t\t<database>lookalike"
            f"</database>\n\t</source>\n\t<size>\n\t\t<width>{shape[1]}</width>\n\t\t<height>"
            f"{shape[0]}</height>\n\t</size>\n{objects}</annotation>\n")


def _xml_object(wnid: str, box: tuple[int, ...], flags: str, track: int | None = None) -> str:
    first = "" if track is None else f"\n\t\t<trackid>{track}</trackid>"
    x1, y1, x2, y2 = box
    return (f"\t<object>{first}\n\t\t<name>{wnid}</name>\n\t\t<bndbox>\n\t\t\t<xmax>{x2}</xmax>\n"
            f"\t\t\t<xmin>{x1}</xmin>\n\t\t\t<ymax>{y2}</ymax>\n\t\t\t<ymin>{y1}</ymin>\n"
            f"\t\t</bndbox>{flags}\n\t</object>\n")
