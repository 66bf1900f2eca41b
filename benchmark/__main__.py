"""The command line as a program, imported where it runs: a worker's process imports this module, and trains alone."""


def main() -> None:
    """`dien-bench`, or `python -m benchmark`."""
    from benchmark.runs.process import collect_seldom

    collect_seldom()
    from benchmark.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
