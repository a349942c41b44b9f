"""Clusters that were there before: how they are joined, looked over, filled and measured on."""

import platform
import re

import pytest
from helper_in_process import pfbench

from harness.commands.placement import MachineSize, device_of, refuse_address, share
from harness.errors import ClusterError, UsageError
from harness.runs.screen import Screen
from harness.trials.machine_facts import installed, look
from harness.trials.measuring_machine import chosen
from harness.trials.placement import Placement, cluster_faults
from harness.trials.preflight import NUMBERS, PLUMBING, lacks_of, refuse_unfit
from tuning.capacity import Capacity, MachineLost
from tuning.cluster import Cluster, ClusterLost, Unreachable, ray_cluster
from tuning.machines import LaunchError, Machine, Silent, everywhere, machines

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

BIG = Machine("a", "big", cpus=64, gpus=0)
SMALL = Machine("b", "small", cpus=8, gpus=0)
TWIN = Machine("c", "twin", cpus=8, gpus=0)


def placement(address="10.0.0.1:6379", cpus=1.0):
    return Placement("ray", "cpu", cpus, 0, None, address, 60)


@pytest.fixture
def screen(tmp_path):
    return Screen(tmp_path / "run.log", quiet=True)


@pytest.fixture(scope="module")
def one_node():
    with ray_cluster(Cluster()):
        yield


# A cluster is looked over before anything is read or trained.


def asked(folder, **changes):
    return {"packages": [*NUMBERS, *PLUMBING], "folders": [str(folder)], "token": "t", "gpu": False,
            **changes}  # fmt: skip


@pytest.fixture
def shared(tmp_path):
    (tmp_path / "t").write_text("t")
    return tmp_path


def lacks(answer, token="t"):
    return [(lack.code, lack.what) for lack in lacks_of(answer, token)]


def test_a_machine_like_the_drivers_own_lacks_nothing(shared):
    assert lacks(look(asked(shared))) == []


def test_a_whole_look_on_a_real_node_leaves_nothing_behind(one_node, tmp_path, screen):
    refuse_unfit(placement(), tmp_path / "out", tmp_path / "out" / "cache", screen)
    assert f"1 node ({platform.node()};" in (tmp_path / "run.log").read_text()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cache"]


@pytest.mark.parametrize("name", NUMBERS)
def test_what_computes_the_numbers_has_to_be_of_the_same_version_everywhere(shared, name):
    answer = look(asked(shared))
    answer["packages"][name] = "1.0"
    [(code, what)] = lacks(answer)
    assert (code, what) == ("PFB-R02", f"has {name} 1.0; here it is {installed(name)}")


def test_other_packages_may_differ_but_not_be_missing(shared):
    answer = look(asked(shared))
    answer["packages"] |= {"psutil": "1.0", "safetensors": None}
    here = installed("safetensors")
    assert lacks(answer) == [("PFB-R02", f"lacks safetensors; here it is {here}")]


def test_the_packages_asked_for_are_those_that_a_trial_imports():
    import subprocess
    import sys

    code = """if True:
        import sys
        import harness.trials.preload, harness.trials.train_point, tuning.launch
        from importlib.metadata import packages_distributions, requires
        from packaging.requirements import Requirement
        ours = {Requirement(one).name for one in requires("pfbench") if "extra" not in one}
        known = packages_distributions()
        loaded = {name.partition(".")[0] for name in sys.modules}
        print(*sorted({one for name in loaded for one in known.get(name, [])} & ours))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {*NUMBERS, *PLUMBING} - {"ray"}


def test_a_folder_that_is_another_one_over_there_is_found(shared):
    code, what = lacks(look(asked(shared / "elsewhere")))[0]
    assert (code, what) == ("PFB-R03", f"{shared / 'elsewhere'} is not there, or another folder")


def test_a_folder_whose_writing_does_not_arrive_is_found(shared):
    answer = look(asked(shared))
    (shared / answer["folders"][str(shared)]["left"]).unlink()
    [(code, what)] = lacks(answer)
    assert code == "PFB-R03" and "did not arrive" in what


def test_a_full_disk_is_found(shared):
    answer = look(asked(shared))
    answer["folders"][str(shared)]["free_bytes"] = 5 * 2**20
    assert lacks(answer) == [("PFB-R03", f"has 5 MiB free in {shared}")]


def test_a_machine_whose_torch_sees_no_gpu_is_found(shared, monkeypatch):
    monkeypatch.setattr("harness.trials.machine_facts.TORCH", "print('{\"gpus\": []}')")
    assert lacks(look(asked(shared, gpu=True)))[0][0] == "PFB-R04"


def test_a_torch_that_cannot_be_imported_is_found(shared, monkeypatch):
    monkeypatch.setattr(
        "harness.trials.machine_facts.TORCH", "raise ImportError('no libcudart.so')"
    )
    [(_, what)] = lacks(look(asked(shared, gpu=True)))
    assert what == "cannot compute on a GPU: ImportError: no libcudart.so"


def test_one_error_names_every_machine_and_what_it_lacks(one_node, tmp_path, screen, monkeypatch):
    old = {"python": "3.11.7", "packages": {"torch": "2.1.0"}, "folders": {}, "device": "x",
           "broken": ""}  # fmt: skip
    answers = {BIG: old, SMALL: old, TWIN: Silent("no answer in 120 s")}
    monkeypatch.setattr("harness.trials.preflight.everywhere", lambda *_: answers)
    with pytest.raises(ClusterError) as caught:
        refuse_unfit(placement(), tmp_path, tmp_path / "cache", screen)
    said = str(caught.value)
    assert "2 faults in the cluster at 10.0.0.1:6379" in said
    assert f"error[PFB-R02]: big, small: has torch 2.1.0; here it is {installed('torch')}" in said
    assert "error[PFB-R05]: twin: cannot be asked: no answer in 120 s. Try: " in said
    assert caught.value.exit_code == 6


def test_without_an_address_nobody_is_asked(tmp_path, screen):
    refuse_unfit(placement(address=None), tmp_path, tmp_path / "cache", screen)
    assert not (tmp_path / "cache").exists()


def test_what_fails_on_a_machine_is_told_as_its_answer(one_node):
    def break_down(asked):
        raise OSError("no such disk")

    [answer] = everywhere(break_down, {}, machines(), 60).values()
    assert str(answer) == "OSError: no such disk"


# Where nothing answers, or not to us.


def test_an_address_where_no_cluster_is_ends_as_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tuning.cluster.JOIN", "raise ConnectionError('Failed to connect')")
    done = pfbench("run", "--suite", "table5", "--address", "127.0.0.1:9", "--out", tmp_path / "o",
                   expect=6)  # fmt: skip
    assert "error[PFB-R01]: --address: no Ray cluster answers at 127.0.0.1:9" in done.said
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("C raylet_ipc_client.cc:85: Failed to connect to socket", "no node of the Ray cluster"),
        ("RuntimeError: Version mismatch: Ray 2.9, Python 3.10", "Version mismatch: Ray 2.9"),
        ("ConnectionError: Failed to connect", "or it wants a token: export RAY_AUTH_MODE=token"),
    ],
)
def test_what_ray_says_when_it_lets_nobody_in_is_told_with_a_remedy(monkeypatch, said, told):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr("tuning.cluster.JOIN", f"import sys; sys.exit({said!r})")
    with pytest.raises(Unreachable, match=re.escape(told)), ray_cluster(Cluster("10.0.0.1:6379")):
        pass


@pytest.mark.parametrize(
    ("address", "executor", "autoscale"),
    [
        ("ray://10.0.0.1:10001", "ray", False),
        ("10.0.0.1:6379", "inline", False),
        (None, "ray", True),
    ],
)
def test_options_that_no_cluster_goes_with_are_refused(address, executor, autoscale):
    with pytest.raises(UsageError):
        refuse_address(address, executor, autoscale=autoscale)


# What trials are given there.


@pytest.mark.parametrize(
    ("device", "cpus"),
    [("cpu", 1), ("cuda", 8)],
)
def test_a_trial_gets_a_share_that_the_smallest_machine_has(device, cpus):
    there = [MachineSize(64, 8), MachineSize(8, 0), MachineSize(0, 0), MachineSize(32, 2)]
    assert share(there, device) == cpus


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda")])
def test_auto_looks_for_gpus_in_the_cluster_and_not_on_this_machine(gpus, device):
    assert device_of("auto", [MachineSize(8, 0), MachineSize(8, gpus)]) == device


# Machines come and go.


def ground(monkeypatch, there, only=None, **cluster):
    monkeypatch.setattr("tuning.machines.machines", lambda: there)
    monkeypatch.setattr("tuning.capacity.machines", lambda: there)
    return Capacity({(1, 0)}, Cluster("10.0.0.1:6379", **cluster), only)


def test_places_are_those_of_the_machines_that_live(monkeypatch):
    there = [SMALL, TWIN]
    here = ground(monkeypatch, there)
    assert here.places() == 16
    there.remove(TWIN)
    assert here.places() == 8


def test_no_more_places_than_asked_for(monkeypatch):
    assert ground(monkeypatch, [BIG], max_concurrent=3).places() == 3


def test_a_cluster_with_no_machine_left_is_given_up_after_a_while(monkeypatch):
    there = [SMALL]
    here = ground(monkeypatch, there)
    there.clear()
    assert here.places() == 0
    here.seen -= here.patience_s + 1
    with pytest.raises(ClusterLost, match="no room for 60 s"):
        here.places()


def test_a_fixed_cluster_without_room_is_refused_and_a_growing_one_waited_for(monkeypatch):
    with pytest.raises(LaunchError, match="a trial asks for 1 CPUs"):
        ground(monkeypatch, [Machine("d", "head", cpus=0, gpus=0)])
    assert ground(monkeypatch, [], grows=True).places() == 0


def test_a_phase_that_begins_when_the_last_machine_has_died_ends_as_a_lost_cluster(monkeypatch):
    with pytest.raises(ClusterLost, match="no machine of the cluster is left"):
        ground(monkeypatch, [])


def test_the_autoscaler_is_asked_for_what_would_run_now_and_let_go_at_the_end(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ray.autoscaler.sdk.request_resources", lambda bundles: asked.append(len(bundles))
    )
    with ground(monkeypatch, [], grows=True, max_concurrent=4) as here:
        for left in (9, 9, 4, 3):
            here.wants(left)
    assert asked == [4, 3, 0]


def test_jobs_of_one_machine_end_when_it_is_gone(monkeypatch):
    with pytest.raises(MachineLost, match="twin"):
        ground(monkeypatch, [SMALL], only=TWIN).places()


# Times are comparable: all of them are measured on one machine.

SLOW, FAST = ("slow", 8), ("fast", 64)


def test_it_measures_on_a_machine_of_the_kind_there_is_most_of():
    assert chosen({BIG: FAST, SMALL: SLOW, TWIN: SLOW}, {}) in (SMALL, TWIN)


def test_it_goes_on_measuring_where_it_measured_before():
    assert chosen({BIG: FAST, SMALL: SLOW, TWIN: SLOW}, {"twin": SLOW}) == TWIN
    assert chosen({BIG: FAST, SMALL: SLOW, TWIN: SLOW}, {"big": FAST}) == BIG


def test_when_that_machine_is_gone_one_of_its_kind_measures():
    assert chosen({BIG: FAST, SMALL: SLOW, TWIN: SLOW}, {"gone": FAST}) == BIG


def test_machines_of_one_host_have_names_of_their_own(monkeypatch):
    node = {"Alive": True, "NodeName": "10.0.0.1", "NodeManagerAddress": "10.0.0.1",
            "NodeManagerHostname": "host", "Resources": {"CPU": 1.0}}  # fmt: skip
    nodes = [node | {"NodeID": "aaaaaaaa"}, node | {"NodeID": "bbbbbbbb"}]
    named = node | {"NodeID": "cccccccc", "NodeName": "gpu-1"}
    dead = node | {"NodeID": "dddddddd", "Alive": False}
    monkeypatch.setattr("ray.nodes", lambda: [*nodes, named, dead])
    assert [one.name for one in machines()] == ["gpu-1", "host-aaaaaa", "host-bbbbbb"]


def test_a_ray_that_does_not_start_is_told_with_the_way_without_it(monkeypatch):
    import ray

    def init(**options):
        raise Exception("The current node timed out during startup. This could happen")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match="--executor inline") as told, cluster_faults():  # noqa: SIM117
        with ray_cluster(Cluster()):
            pass
    assert told.value.code == "PFB-R07"
    assert "Ray did not start: The current node timed out during startup" in str(told.value)
