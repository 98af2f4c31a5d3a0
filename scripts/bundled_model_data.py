"""The data of the bundled model: a mixed COCO keypoint file in, what is trained on and held out.

    python scripts/bundled_model_data.py pack/annotations.json train.json held.json

Pictures of --source, which people labelled, count --times; 200 of them are held out, to choose by.
"""

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

from limbwise.atomic import write_json
from limbwise.places import check_places
from limbwise.terminal import failing_in_one_line

Entry = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("--source", default="coco-train2017")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--hold", type=int, default=200)
    flags = parser.parse_args()
    with failing_in_one_line():
        check_places([flags.pack], {"TRAIN": flags.train, "HELD": flags.held})
        pack = json.loads(flags.pack.read_text())
        human = sorted(e["id"] for e in pack["images"] if e.get("source") == flags.source)
        Random(0).shuffle(human)
        held = set(human[: flags.hold])
        trained = [entry for entry in pack["images"] if entry["id"] not in held]
        again = [entry for entry in trained if entry["id"] in set(human)] * (flags.times - 1)
        write_json(flags.held, chosen(pack, [e for e in pack["images"] if e["id"] in held]))
        write_json(flags.train, chosen(pack, trained + again))
        print(f"{flags.train}: {len(trained + again)} pictures; {flags.held}: {len(held)}")


def chosen(pack: Entry, images: list[Entry]) -> Entry:
    """The pack with these pictures only, as often as they are named, under new ids."""
    of: dict[int, list[Entry]] = {}
    for entry in pack["annotations"]:
        of.setdefault(entry["image_id"], []).append(entry)
    people = [
        {**entry, "image_id": number}
        for number, image in enumerate(images, start=1)
        for entry in of.get(image["id"], [])
    ]
    return {
        **pack,
        "images": [{**image, "id": number} for number, image in enumerate(images, start=1)],
        "annotations": [{**entry, "id": number} for number, entry in enumerate(people, start=1)],
    }


if __name__ == "__main__":
    main()
