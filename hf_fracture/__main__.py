"""`python -m hf_fracture` is `hf-fracture`, also under `torchrun -m` and `accelerate launch -m`."""

from hf_fracture.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
