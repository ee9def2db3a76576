"""What a person asks of runs that real workers train: pause, resume, cancel, clone, limits."""

from __future__ import annotations

from tests.acceptance.test_faults import assert_like_undisturbed


def test_a_run_paused_and_resumed_ends_with_the_bytes_of_one_left_alone(any_yard, undisturbed):
    run = any_yard.long_run(seed=7)
    any_yard.trains(run)
    assert any_yard.client.pause(run).state == "paused"
    assert any_yard.cli("runs", "resume", run).returncode == 0
    any_yard.completed(run)
    assert any_yard.outcomes(run) == ["paused", "completed"]
    assert_like_undisturbed(any_yard, run, undisturbed)


def test_a_paused_run_leaves_its_slot_to_others_and_keeps_its_place_in_the_history(yard):
    long = [yard.submit(epochs=100_000, seed=seed) for seed in (1, 2)]
    for run in long:
        yard.trains(run)
    waiting = yard.submit(epochs=2)
    assert yard.cli("runs", "pause", *long).stdout == "".join(f"run {run} is paused\n" for run in long)
    yard.completed(waiting)
    assert [yard.client.run(run).state for run in long] == ["paused", "paused"]
    assert yard.cli("runs", "cancel", *long).returncode == 0
    assert [yard.client.run(run).state for run in long] == ["cancelled", "cancelled"]


def test_all_that_fit_are_cancelled_those_that_train_among_them_and_keep_their_weights(yard):
    long = [yard.submit(epochs=100_000, seed=seed, tags=["mass"]) for seed in (1, 2)]
    for run in long:
        yard.trains(run)
    waiting = [yard.submit(epochs=2, seed=seed, tags=["mass"]) for seed in range(5)]
    done = yard.cli("runs", "cancel", "--where", "tag = 'mass'")
    assert (done.returncode, done.stdout) == (0, "7 runs are cancelled\n")
    assert all(yard.client.weights(run) for run in long)
    assert {yard.client.run(run).state for run in waiting} == {"cancelled"}


def test_a_clone_of_a_run_whose_file_is_gone_trains_to_the_same_bytes(yard):
    file = yard.home / "specs" / "passing.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        "version: 1\ndata: {source: iris}\nnetwork: [{dense: {units: 8, activation: relu}}]\ntrain: {epochs: 5}\n"
    )
    run = yard.client.submit(file).id
    file.unlink()
    clone = yard.client.clone(run).id
    longer = yard.client.clone(run, overrides=["train.epochs=9"]).id
    yard.completed(run, clone, longer)
    assert yard.client.run(clone).weights_sha256 == yard.client.run(run).weights_sha256
    assert yard.client.run(longer).epoch == 9


def test_a_run_beyond_its_limit_of_time_is_ended_by_its_slot_which_goes_on_to_the_next(yard):
    endless = [
        yard.client.submit(yard.spec(epochs=1_000_000, seed=seed), overrides=["limits.seconds=1"]).id for seed in (1, 2)
    ]
    following = yard.submit(epochs=2)
    pids = set()
    for run in endless:
        record = yard.ended(run)
        assert (record.state, record.error) == ("failed", "it took more than limits.seconds, 1.0 s")
        pids.add(yard.client.attempts(run)[-1].pid)
        assert yard.client.weights(run)
    yard.completed(following)
    assert yard.client.attempts(following)[-1].pid in pids  # nobody killed it
