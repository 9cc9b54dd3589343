"""Elasticsearch nodes for the tests of stores: one of each version for all of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import nodes
import pytest


def _skip(version: str, reason: nodes.Missing) -> NoReturn:
    """Skip a test, or fail in CI, which may not leave it out."""
    if os.environ.get("CI") and not nodes.excused(version):
        pytest.fail(f"CI runs these tests: {reason}", pytrace=False)
    pytest.skip(str(reason))


def _shared(version: str, factory: pytest.TempPathFactory) -> Iterator[nodes.Cluster]:
    named = os.environ.get(f"JIANMEN_TEST_NODE_{version.partition('.')[0]}")
    if named:  # a node that somebody keeps running between test runs: its address
        yield nodes.Cluster(version, Path(), [named])
        return
    base = factory.getbasetemp()
    run = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    try:
        cluster = nodes.shared(version, run)
    except nodes.Missing as reason:
        _skip(version, reason)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def elastic_8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.Cluster]:
    """One node of 8.19 that all tests share: use a prefix of your own."""
    yield from _shared("8.19.8", tmp_path_factory)


@pytest.fixture(scope="session")
def elastic_9(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.Cluster]:
    """One node of 9.2 that all tests share: use a prefix of your own."""
    yield from _shared("9.2.8", tmp_path_factory)


@pytest.fixture
def start_nodes() -> Iterator[Callable[..., nodes.Cluster]]:
    """Starts clusters that belong to one test; they are stopped after it. Arguments as ``nodes.start``."""
    started: list[nodes.Cluster] = []

    def start(version: str, *args: object, **more: object) -> nodes.Cluster:
        try:
            cluster = nodes.start(version, *args, **more)
        except nodes.Missing as reason:
            _skip(version, reason)
        started.append(cluster)
        return cluster

    yield start
    for cluster in started:
        cluster.stop()
