"""The whole fault campaign, or the parts named:  scripts/faults [PART …] [--scratch FOLDER]

Prints findings as they come, then one table (fault x command → held), and ends with 1 if there was any finding.
Set CAMPAIGN_COUNT to put fewer than 20,000 mutated inputs through each reader.
"""

import argparse
import shutil
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import _harness

PARTS = tuple(
    sorted(
        p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_") and p.stem != "all"
    )
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which: {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--scratch", type=Path, help="a folder for what is made, kept (default: a temporary one)"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one case in N (default: all)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    scratch = arguments.scratch or Path(tempfile.mkdtemp(prefix="davis_exp_faults_"))
    _harness.warm()
    try:
        parts = {name: import_module(name).cases for name in arguments.parts or PARTS}
        return _harness.campaign(parts, scratch.resolve(), arguments.every)
    finally:
        if arguments.scratch is None:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
