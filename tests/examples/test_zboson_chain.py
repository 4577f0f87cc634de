"""evgen, simreco, merge and plot as jobs run them."""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import uproot
import yaml
from zboson import evgen, merge, rootfile, simreco

from panda.domain.templates import JobNumbers, fill
from tests.examples.releases import ROOT, ZBOSON, run, succeed


def test_evgen_makes_muon_pairs_with_mass_and_numbers(generated: Path) -> None:
    events = rootfile.read(generated / "b.root", [*simreco._GENERATED, "mum_e", "mup_e"])
    columns = {key: np.asarray(column, float) for key, column in events.columns.items()}
    assert columns["event"].tolist() == list(range(51, 101))
    assert set(columns["run"]) == {evgen.RUN_NUMBER}
    assert (columns["mass_true"] > evgen.MINIMUM_MASS).all()
    total = {part: columns[f"mum_{part}"] + columns[f"mup_{part}"] for part in ("px", "py", "pz", "e")}
    mass = np.sqrt(total["e"] ** 2 - total["px"] ** 2 - total["py"] ** 2 - total["pz"] ** 2)
    # Photons that the muons radiate only take mass away; most events have none worth telling.
    assert (mass < columns["mass_true"] + 0.1).all()
    assert np.median(np.abs(mass - columns["mass_true"])) < 0.1
    assert 80 < np.median(mass) < 100


def test_evgen_is_the_same_to_the_byte_whatever_its_name(generated: Path, tmp_path: Path) -> None:
    ended = succeed(ZBOSON, "evgen", "--events 50 --seed 11 --first-event 1 --output EVNT._000001.root.2", tmp_path)
    again = (tmp_path / "EVNT._000001.root.2").read_bytes()
    assert zlib.adler32(again) == zlib.adler32((generated / "a.root").read_bytes())
    assert ended.report["nEvents"] == 50
    assert ended.report["outputs"] == {"EVNT._000001.root.2": {"events": 50}}
    assert ended.stdout == ""  # Pythia's banner goes to its log
    assert "PYTHIA" in (tmp_path / "pythia.log").read_text()


def test_another_seed_makes_other_events(generated: Path) -> None:
    first, second = (rootfile.read(generated / name, ["mass_true"]) for name in ("a.root", "b.root"))
    assert not np.intersect1d(first.columns["mass_true"], second.columns["mass_true"]).size


def test_events_are_seen_alike_however_files_are_split_over_jobs(generated: Path, tmp_path: Path) -> None:
    for name in ("a.root", "b.root", "ra.root", "rb.root"):
        shutil.copy(generated / name, tmp_path)
    succeed(ZBOSON, "simreco", "--input b.root,a.root --seed 5 --output both.root", tmp_path)
    succeed(ZBOSON, "merge", "--input ra.root,rb.root --output one.root", tmp_path)
    succeed(ZBOSON, "merge", "--input rb.root ra.root --output other.root", tmp_path)
    succeed(ZBOSON, "merge", "--input both.root --output third.root", tmp_path)
    assert (tmp_path / "one.root").read_bytes() == (tmp_path / "other.root").read_bytes()
    one, third = (rootfile.read(tmp_path / name, merge.RECONSTRUCTED) for name in ("one.root", "third.root"))
    assert 20 < len(one) < 60
    for key in merge.RECONSTRUCTED:
        np.testing.assert_array_equal(one.columns[key], third.columns[key])
    assert one.counts["generated"] == 100
    assert one.counts["triggered"] == third.counts["triggered"] == len(one)


def test_a_cut_leaves_fewer_events_and_the_report_says_how_many(generated: Path) -> None:
    seen = rootfile.read(generated / "ra.root", ["event", "mum_px", "mum_py", "mup_px", "mup_py"])
    counts = seen.counts
    assert counts["generated"] >= counts["accepted"] >= counts["reconstructed"] >= counts["triggered"] == len(seen)
    pt = [np.hypot(seen.columns[f"{muon}_px"], seen.columns[f"{muon}_py"]) for muon in ("mum", "mup")]
    assert np.minimum(*pt).min() > 20
    assert np.maximum(*pt).min() > 27


def test_merge_keeps_the_histogram_of_its_events(generated: Path, tmp_path: Path) -> None:
    shutil.copy(generated / "ra.root", tmp_path)
    succeed(ZBOSON, "merge", "--input ra.root --output m.root", tmp_path)
    with uproot.open(tmp_path / "m.root") as file:
        contents, edges = file["m_mumu"].to_numpy()
        mass = file["events"]["mass"].array(library="np")
    np.testing.assert_array_equal(contents, np.histogram(mass, edges)[0])
    assert (edges[0], edges[-1]) == (60, 120)


def test_an_event_that_comes_twice_is_refused(generated: Path, tmp_path: Path) -> None:
    shutil.copy(generated / "ra.root", tmp_path / "ra.root")
    shutil.copy(generated / "ra.root", tmp_path / "again.root")
    ended = run(ZBOSON, "merge", "--input ra.root,again.root --output m.root", tmp_path)
    assert ended.code == 65
    assert "comes twice" in ended.stderr
    assert not (tmp_path / "m.root").exists()


def test_a_file_without_events_goes_through(generated: Path, tmp_path: Path) -> None:
    """No event of a job may pass the cuts: its file is empty, and valid."""
    empty = rootfile.read(generated / "ra.root", merge.RECONSTRUCTED)
    none = {key: column[:0] for key, column in empty.columns.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        rootfile.write("empty.root", rootfile.Sample(none, {"generated": 3}), {})
    shutil.copy(generated / "ra.root", tmp_path)
    ended = succeed(ZBOSON, "merge", "--input empty.root,ra.root --output m.root", tmp_path)
    assert ended.report["nEvents"] == len(empty)


def test_plot_finds_the_peak_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    merged = tmp_path / "merged.root"
    _write_peak(merged, 4000)
    before = {path: path.stat().st_mtime_ns for path in ZBOSON.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    ended = succeed(ZBOSON, "plot", "--input merged.root --output z-mumu.png --fit fit.json", tmp_path)
    picture = (tmp_path / "z-mumu.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    fitted = json.loads((tmp_path / "fit.json").read_text())
    assert abs(fitted["mass_gev"] - 91.0) < 4 * fitted["mass_error_gev"]
    assert {"sigma_gev", "chi2", "ndf", "n_events", "mass_error_gev"} <= set(fitted)
    assert set(ended.report["outputs"]) == {"z-mumu.png", "fit.json"}  # type: ignore[call-overload] # JSON of any shape
    assert {path.name for path in tmp_path.iterdir()} == {"merged.root", "z-mumu.png", "fit.json", "jobReport.json"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    succeed(ZBOSON, "merge", "--input merged.root --output again.root --plot again.png --fit again.json", tmp_path)
    assert (tmp_path / "again.png").read_bytes() == picture


def _write_peak(path: Path, events: int) -> None:
    chance = np.random.default_rng(3)
    mass = 91.0 + 1.2477 * chance.standard_cauchy(events) + 1.6 * chance.standard_normal(events)
    columns: dict[str, object] = {key: np.zeros(events, np.float32) for key in merge.RECONSTRUCTED}
    columns |= {"run": np.ones(events, np.int32), "event": np.arange(events), "mass": mass.astype(np.float32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        rootfile.write(path.name, rootfile.Sample(columns, {}), {})


@pytest.mark.parametrize("transformation", ["evgen", "simreco", "merge", "plot"])
def test_help_says_what_it_does(transformation: str, tmp_path: Path) -> None:
    ended = run(ZBOSON, transformation, "--help", tmp_path)
    assert ended.code == 0
    assert f"{transformation}:" in ended.stdout
    assert "--output" in ended.stdout


def test_the_campaigns_own_parameters_run(tmp_path: Path) -> None:
    """Each task's template, filled as a job's is, is understood by its transformation."""
    campaign = yaml.safe_load((ROOT / "examples/zboson/campaign.yaml").read_text())
    made: tuple[str, ...] = ()
    for task in campaign["tasks"].values():
        numbers = JobNumbers(
            task_id=7, job_id=70, ordinal=1, attempt=1, first_event=41, n_events=40, skip_events=40,
            seed=task.get("seed", 0), inputs={"IN": made},
        )  # fmt: skip
        outputs = tuple(fill(one["lfn"], numbers) for one in task["outputs"])
        numbers = numbers._replace(outputs=outputs)
        succeed(ZBOSON, task["transformation"], fill(task["parameters"], numbers), tmp_path)
        made = (next(lfn for lfn in outputs if not lfn.startswith("log")),)
        assert (tmp_path / made[0]).exists()
    assert rootfile.read(tmp_path / made[0], ["event"]).columns["event"].min() >= 41
