# The environment of `make setup`, from requirements.lock, with torch built for the CPU:
#   docker build -t dien-bench . && docker run --rm dien-bench
# runs all tests. With results kept outside:  docker run --rm -v "$PWD/runs:/dien-bench/runs" dien-bench make quickstart
FROM python:3.11-slim-bookworm

# git: records name their commit. chromium: the tests of the leaderboard's page.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /dien-bench
ENV PIP_NO_CACHE_DIR=1

# torch first and alone: the version of the lock, without the GPU packages that its build on the package index requires.
# What comes behind it finds that version installed, and leaves it.
COPY requirements.lock ./
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.lock)" \
    && .venv/bin/python -m pip install --quiet -r requirements.lock

COPY . .
RUN git config --global --add safe.directory /dien-bench && make setup

CMD ["make", "test"]
