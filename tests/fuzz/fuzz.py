"""Coverage-guided fuzzing: `python -m tests.fuzz.fuzz TARGET [SECONDS] [options of libFuzzer]`; see README.md."""

import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

GUIDED = ["datamodules", "benchmark", "zipfile", "json", "csv"]  # whose coverage guides


def main(name: str, seconds: str, options: list[str]) -> None:
    """Fuzz; each new kind of failure goes to fuzz-findings/TARGET-N with its traceback, and fuzzing goes on."""
    import atheris  # only here: the ordinary suite collects this file without it

    with atheris.instrument_imports(include=GUIDED, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    findings, corpus = Path("fuzz-findings"), Path("fuzz-corpus", name)
    findings.mkdir(exist_ok=True)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    kinds: set[str] = set()

    def check(data: bytes) -> None:
        with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            try:
                target.check(data, Path(folder))
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                kind = f"{type(error).__name__} {[(f.filename, f.lineno) for f in frames[-3:]]}"
                if kind not in kinds:
                    kinds.add(kind)
                    place = findings / f"{name}-{len(kinds)}"
                    place.write_bytes(data)
                    place.with_suffix(".txt").write_text(traceback.format_exc())
                    print(f"found: {type(error).__name__}: {error!s:.200} ({place})", flush=True)

    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", f"-artifact_prefix={findings}/{name}-"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], *(sys.argv[2:3] or ["300"]), sys.argv[3:])
