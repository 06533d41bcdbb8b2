"""`python -m davis_exp` is `davis-exp`."""

import sys

from davis_exp.cli import main

if __name__ == "__main__":
    sys.exit(main())
