"""`python -m hf_fracture.cli` is `hf-fracture`."""

import sys

from hf_fracture.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
