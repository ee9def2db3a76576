"""Environments as they are compared and shown."""

from __future__ import annotations

from service.environments import changes, differences, facts

ADA = {"host": "ada", "machine": "x86_64", "numpy": "2.4.6", "blas": "openblas", "blas_kernel": "Haswell"}


def test_only_what_decides_bytes_counts_as_a_difference_of_two_attempts():
    assert differences(ADA, ADA | {"host": "bob"}) == []
    assert differences(ADA, ADA | {"blas_kernel": "Zen", "numpy": "2.5"}) == [
        "numpy: 2.4.6 -> 2.5", "blas_kernel: Haswell -> Zen",
    ]  # fmt: skip


def test_what_an_earlier_version_did_not_record_is_no_difference():
    assert differences(ADA, ADA | {"simd": "AVX2"}) == []
    assert differences(ADA | {"simd": "AVX2"}, ADA) == []


def test_attempts_on_other_machines_are_told_with_all_that_changed():
    bob = ADA | {"host": "bob", "blas_kernel": "Zen"}
    assert changes([ADA, ADA, bob, bob, ADA]) == [
        (3, ["host: ada -> bob", "blas_kernel: Haswell -> Zen"]),
        (5, ["host: bob -> ada", "blas_kernel: Zen -> Haswell"]),
    ]
    assert changes([ADA]) == changes([]) == []


def test_what_is_not_recorded_is_not_shown():
    assert facts({}) == []
    assert facts(ADA) == [("host", "ada"), ("CPU", "x86_64"), ("BLAS", "Haswell kernels"), ("versions", "NumPy 2.4.6")]
    whole = ADA | {"cpus": 2, "cpu": "Xeon", "simd": "AVX2", "blas_version": "0.3", "blas_threads": 1}
    assert facts(whole)[:3] == [
        ("host", "ada, 2 CPUs"), ("CPU", "Xeon, x86_64, AVX2"), ("BLAS", "openblas 0.3, Haswell kernels, threads 1"),
    ]  # fmt: skip
