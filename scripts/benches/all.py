"""Every bench, one after the other, each with its own goals; their JSON files lie beside each other.

    scripts/bench all ../davis [--folder benches] [--only data train …]

The machine should have nothing else to do. Says at the end which goals were not met, and ends with 1 if
any was not or if a bench failed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ON_DATA = ("data", "train", "score")  # benches that are given the data set
ALONE = ("infer", "startup", "memory", "models", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a labelled data set in DAVIS layout")
    parser.add_argument("--folder", type=Path, default=Path("benches"), help="for <bench>.json")
    parser.add_argument("--only", nargs="+", choices=[*ON_DATA, *ALONE], default=[*ON_DATA, *ALONE])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    trouble = []
    for name in args.only:
        file = args.folder / f"{name}.json"
        file.unlink(missing_ok=True)
        given = [str(args.data)] if name in ON_DATA else []
        print(f"\n==== {name}", flush=True)
        code = subprocess.run([sys.executable, HERE / f"{name}.py", *given, "--json", file]).returncode
        if code:
            trouble.append(f"{name}: ended with {code}")
            continue
        for ratio, found in json.loads(file.read_text())["ratios"].items():
            if found.get("met") is False:
                bound = "at least" if found["at_least"] else "at most"
                trouble.append(f"{name}: {ratio} is {found['value']:.2f}, not {bound} {found['goal']:g}")
    print("\n" + ("\n".join(["not met:", *trouble]) if trouble else "all goals met"))
    sys.exit(bool(trouble))


if __name__ == "__main__":
    main()
