# The environment of `make setup`, pinned by requirements.lock:
#   docker build -t dien-bench . && docker run --rm dien-bench
# runs all tests. With results kept outside:  docker run --rm -v "$PWD/runs:/dien-bench/runs" dien-bench make quickstart
FROM python:3.11-slim-bookworm

# git: records name their commit. chromium: the tests of the leaderboard's page.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /dien-bench
ENV PIP_NO_CACHE_DIR=1

COPY . .
RUN git config --global --add safe.directory /dien-bench && make setup

CMD ["make", "test"]
