"""`python -m benchmark` is `dien-bench`."""

from benchmark.cli.app import main

if __name__ == "__main__":
    main()
