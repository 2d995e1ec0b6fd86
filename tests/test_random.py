"""Counter-based random numbers: the generator itself, its statistics, and that only (seed, stream, id, step) matter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import kspde
from kspde.runtime.random import Philox, _cos_sin_turns, _log, philox4x32

IDS = np.arange(200_000, dtype=np.uint64)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    words = philox4x32(*map(np.uint64, counter), *map(np.uint64, key))
    assert " ".join(f"{int(word):08x}" for word in words) == expected


def test_uniforms_and_normals_are_made_from_the_documented_words():
    random = Philox(5, stream=(2, 7))
    particle, step = (3 << 32) + 11, 29
    for block, first in ((0, 0), (1, 2)):
        counter = [np.uint64(word) for word in (11, 3, step, block)]
        a, b, c, d = (int(w) for w in philox4x32(*counter, *random.key))
        expected = [(((high << 32 | low) >> 12) + 0.5) / 2**52 for high, low in ((a, b), (c, d))]
        got = random.uniforms(np.array([particle], dtype=np.uint64), step, 4)[0, first : first + 2]
        assert got.tolist() == expected
    counter = [np.uint64(word) for word in (11, 3, step, 2**31)]
    a, b, c, d = (int(w) for w in philox4x32(*counter, *random.key))
    u, v = ((((high << 32 | low) >> 12) + 0.5) / 2**52 for high, low in ((a, b), (c, d)))
    expected = np.sqrt(-2 * np.log(u)) * np.array([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)])
    got = random.normals(np.array([particle], dtype=np.uint64), step, 2)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-14)


def test_key_is_that_of_numpys_seed_sequence():
    words = np.random.SeedSequence(12, spawn_key=(3, 4)).generate_state(2, np.uint32)
    assert Philox(12, stream=(3, 4)).key.tolist() == words.tolist()


def test_logarithm_and_circular_functions_are_accurate():
    u = np.concatenate((np.random.default_rng(0).random(3000), [2.0**-53, 1 - 2.0**-53, 0.5, 0.75, 0.5**0.5]))
    np.testing.assert_allclose([_log(x) for x in u], np.log(u), rtol=1e-15)
    got = np.array([_cos_sin_turns(x) for x in np.append(u, np.arange(9) / 8)])
    turns = 2 * np.pi * np.append(u, np.arange(9) / 8)
    np.testing.assert_allclose(got, np.stack((np.cos(turns), np.sin(turns)), axis=1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_uniforms_are_uniform(count):
    u = Philox(1).uniforms(IDS, 4, count)
    assert u.shape == (len(IDS), count)
    assert u.min() > 0
    assert u.max() < 1
    for j in range(count):
        assert stats.kstest(u[:, j], "uniform").pvalue > 1e-4


def test_normals_have_the_moments_and_the_law_of_independent_normals():
    z = Philox(2).normals(IDS, 9, 3)
    n = len(IDS)
    for j in range(3):
        assert stats.kstest(z[:, j], "norm").pvalue > 1e-4
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        np.testing.assert_allclose((z**power).mean(axis=0), expected, atol=4.5 * np.sqrt(variance / n))
    correlation = np.corrcoef(z, rowvar=False) - np.eye(3)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)


@pytest.mark.parametrize(
    "other",
    [
        lambda: Philox(8).normals(IDS, 1, 2),
        lambda: Philox(7).normals(IDS, 2, 2),
        lambda: Philox(7, stream=1).normals(IDS, 1, 2),
        lambda: Philox(7, stream=(0, 1)).normals(IDS, 1, 2),
        lambda: Philox(7).normals(IDS + np.uint64(1 << 32), 1, 2),
        lambda: Philox(7).normals(IDS + np.uint64(1), 1, 2),
        lambda: stats.norm.ppf(Philox(7).uniforms(IDS, 1, 2)),
    ],
    ids=["seed", "step", "stream", "substream", "high word of the id", "neighbour", "uniforms of the same step"],
)
def test_streams_are_uncorrelated(other):
    z, values = Philox(7).normals(IDS, 1, 2), other()
    for a in range(2):
        for b in range(2):
            assert abs(np.corrcoef(z[:, a], values[:, b])[0, 1]) < 4.5 / np.sqrt(len(IDS))


def test_numbers_do_not_depend_on_how_ids_are_split():
    random = Philox(3)
    whole = random.normals(IDS[:10_000], 6, 3)
    parts = [random.normals(part, 6, 3) for part in np.array_split(IDS[:10_000], 7)]
    assert np.array_equal(whole, np.concatenate(parts))
    order = np.random.default_rng(0).permutation(10_000)
    assert np.array_equal(random.uniforms(IDS[order], 6, 2), random.uniforms(IDS[:10_000], 6, 2)[order])
    # The first columns do not depend on how many there are.
    assert np.array_equal(random.normals(IDS[:50], 6, 1)[:, 0], whole[:50, 0])
    assert random.normals(IDS[:0], 0, 2).shape == (0, 2)


def test_in_place_variant_gives_the_same_numbers():
    out = np.empty((1000, 2))
    Philox(3).fill_normals(out, IDS[:1000], 1)
    assert np.array_equal(out, Philox(3).normals(IDS[:1000], 1, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed = -1 is not valid: give an integer >= 0"),
        ({"seed": 1.5}, "seed = 1.5 is not an integer"),
        ({"seed": 1, "stream": -2}, "stream = -2 is not valid"),
    ],
)
def test_bad_seeds(arguments, message):
    with pytest.raises(kspde.InputError, match=message):
        Philox(**arguments)


def test_a_step_beyond_the_counter_is_refused():
    for step in (-1, 1 << 32):
        with pytest.raises(kspde.InputError, match=rf"step = {step} is not valid"):
            Philox(0).normals(IDS[:1], step, 1)
    assert Philox(0).normals(IDS[:1], (1 << 32) - 1, 1)[0, 0] != Philox(0).normals(IDS[:1], (1 << 31) - 1, 1)[0, 0]


def test_ids_of_another_integer_type_are_the_same_ids():
    for kind in (np.int64, np.int32):
        assert np.array_equal(Philox(3).uniforms(np.arange(9, dtype=kind), 6, 2), Philox(3).uniforms(IDS[:9], 6, 2))
