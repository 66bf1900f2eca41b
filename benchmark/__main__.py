"""`python -m benchmark` is `dien-bench`."""

from benchmark.cli import main

if __name__ == "__main__":
    main()
