"""Figures show the data they are given: artists are compared with the arrays; every axis is
labelled; nothing warns or stays open.
"""

import json

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from tutorial_dssm import experiments, files
from tutorial_dssm.__main__ import main
from tutorial_dssm.figures import ch09_extended_kalman_vae, graphs, runs, shared, study, style
from tutorial_dssm.learning.training import METRICS

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("nothing_stays_open")]
N, T = 6, 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def state(rng):
    return np.stack([rng.uniform(-9, 9, (N, T)), rng.normal(0, 3, (N, T))], -1)


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def scatter(axis, which=-1) -> np.ndarray:
    """The points of a scatter in two or three dimensions, [M, 2 or 3]."""
    collection = [c for c in axis.collections if isinstance(c, PathCollection)][which]
    if hasattr(collection, "_offsets3d"):
        return np.column_stack(collection._offsets3d)
    return np.asarray(collection.get_offsets())


def colour_values(axis, which=-1) -> np.ndarray:
    return [c for c in axis.collections if isinstance(c, PathCollection)][which].get_array()


def plots(figure: Figure) -> list:
    """Axes that are not colour bars."""
    return [axis for axis in figure.axes if not hasattr(axis, "_colorbar")]


def bars(figure: Figure) -> list:
    return [axis for axis in figure.axes if hasattr(axis, "_colorbar")]


def bar_labels(figure: Figure) -> list[str]:
    return [axis.get_xlabel() or axis.get_ylabel() for axis in bars(figure)]


def history(rng, rows=20) -> np.ndarray:
    values = rng.uniform(0.01, 1, (rows, len(METRICS)))
    return np.column_stack([np.arange(10, 10 * rows + 1, 10), values])


@pytest.mark.parametrize("z_dim", [1, 2, 3, 5])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_latent_space_shows_every_state_with_its_angle_and_velocity(z_dim, as_tensor, rng, state):
    z = rng.normal(size=(N, T, z_dim))
    figure = drawn(
        shared.latent_space(
            *((torch.tensor(v) for v in (z, state)) if as_tensor else (z, state)), "a title"
        )
    )
    panels = plots(figure)
    assert len(panels) == len(bars(figure)) == 2
    flat = z.reshape(-1, z_dim)
    for panel in panels:
        if z_dim <= 3:
            assert np.allclose(scatter(panel)[:, :z_dim], flat)
        else:  # three principal components: no three directions hold more of the variance
            assert np.isclose(
                scatter(panel).var(0).sum(),
                np.sort(np.linalg.eigvalsh(np.cov(flat.T, bias=True)))[-3:].sum(),
            )
        assert panel.get_xlabel()
    angle = colour_values(panels[0])
    assert (
        np.allclose(np.exp(1j * angle), np.exp(1j * state[..., 0].ravel()))
        and np.abs(angle).max() <= np.pi
    )
    assert np.allclose(colour_values(panels[1]), state[..., 1].ravel())
    assert any("rad)" in label for label in bar_labels(figure)) and any(
        "rad/s" in label for label in bar_labels(figure)
    )


def test_angle_colours_are_cyclic_and_velocity_colours_symmetric(state, rng):
    assert np.abs(np.subtract(style.ANGLE_MAP(0.0), style.ANGLE_MAP(1.0))).max() < 0.02
    _, _, norm, _ = style.state_colours(state)["velocity"]
    assert norm.vmin == -norm.vmax


def test_latent_over_training_shows_first_and_last_snapshot_and_the_history(rng, state):
    snapshots, steps, rows = rng.normal(size=(9, N, T, 3)), np.arange(9) * 25, history(rng)
    figure = drawn(shared.latent_over_training(snapshots, steps, state, rows, columns=4))
    clouds = [axis for axis in plots(figure) if axis.name == "3d"]
    curves = [axis for axis in plots(figure) if axis.name != "3d"]
    assert len(clouds) == 8 and len(curves) == 3
    for row in (clouds[:4], clouds[4:]):
        assert np.allclose(scatter(row[0]), snapshots[0].reshape(-1, 3))
        assert np.allclose(scatter(row[-1]), snapshots[-1].reshape(-1, 3))
    assert [axis.get_title() for axis in clouds[:4]][0] == "step 0" and clouds[
        3
    ].get_title() == "200"
    for axis, name in zip(curves, ("weight", "mse", "rate")):
        assert np.allclose(axis.lines[0].get_xdata(), rows[:, 0])
        assert np.allclose(axis.lines[0].get_ydata(), rows[:, 1 + METRICS.index(name)])
        assert axis.get_xlabel() == "step" and axis.get_title()


def test_latent_over_training_with_one_snapshot(rng, state):
    figure = drawn(
        shared.latent_over_training(rng.normal(size=(1, N, T, 2)), [0], state, history(rng, 2))
    )
    assert len(plots(figure)) == 5


@pytest.mark.parametrize("error", [False, True])
def test_prediction_shows_the_frames_in_order(error, rng):
    observed, one, two = rng.uniform(size=(3, T, 4, 4))
    figure = drawn(
        shared.prediction(
            observed, {"one": one.reshape(T, 16), "two": two}, dt=0.5, error=error, first=1.0
        )
    )
    axes = plots(figure)
    assert len(axes) == 3 + error
    assert [axis.get_ylabel() for axis in axes[:3]] == ["observed", "one", "two"]
    for axis, frames in zip(axes, (observed, one, two)):
        assert np.allclose([image.get_array() for image in axis.images], frames)
        centres = [np.mean(image.get_extent()[:2]) for image in axis.images]
        assert np.allclose(centres, range(T))
    assert axes[-1].get_xlabel() == "time (s)"
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == [
        "1.0",
        "1.5",
        "2.0",
        "2.5",
        "3.0",
    ]
    if error:
        assert np.allclose(axes[-1].lines[1].get_ydata(), ((two - observed) ** 2).mean((1, 2)))


def test_prediction_refuses_frames_of_another_shape(rng):
    with pytest.raises(ValueError, match="'short' must have the shape"):
        shared.prediction(rng.uniform(size=(T, 4, 4)), {"short": rng.uniform(size=(T - 1, 4, 4))})


def test_as_images_needs_a_square_number_of_pixels():
    assert style.as_images(torch.zeros(2, 3, 25)).shape == (2, 3, 5, 5)
    with pytest.raises(ValueError, match="square number"):
        style.as_images(np.zeros((2, 24)))


def test_error_curves_show_seeds_and_their_mean(rng):
    seeds, single = rng.uniform(0.1, 1, (4, T)), rng.uniform(0.1, 1, T)
    axis = plots(
        drawn(
            shared.error_curves(
                {"a": seeds, "b": single}, dt=0.2, first=0.4, references={"mean image": 0.5}
            )
        )
    )[0]
    lines = [line.get_ydata() for line in axis.lines]
    assert len(lines) == 4 + 1 + 1 + 1
    assert (
        np.allclose(lines[:4], seeds)
        and np.allclose(lines[4], seeds.mean(0))
        and np.allclose(lines[5], single)
    )
    assert np.allclose(axis.lines[0].get_xdata(), 0.4 + 0.2 * np.arange(T)) and set(lines[6]) == {
        0.5
    }
    assert axis.get_yscale() == "log" and axis.get_xlabel() == "time (s)" and axis.get_ylabel()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b", "mean image"]


@pytest.mark.parametrize("distortion", ["mse", "distortion"])
def test_rate_distortion_path(distortion, rng):
    rows, constant = history(rng), history(rng)
    constant[:, 1 + METRICS.index("sigma")] = 0.1
    figure = drawn(
        shared.rate_distortion_path({"run": rows, "other": constant}, distortion, target=0.02)
    )
    axis = plots(figure)[0]
    assert np.allclose(axis.lines[0].get_xdata(), rows[:, 1 + METRICS.index(distortion)])
    assert np.allclose(axis.lines[0].get_ydata(), rows[:, 1 + METRICS.index("rate")])
    marks = scatter(axis, 0)
    assert np.allclose(marks[0], axis.lines[0].get_xydata()[0]) and np.allclose(
        marks[-1], axis.lines[0].get_xydata()[-1]
    )
    assert axis.get_xlabel() and axis.get_ylabel() and "σ/√λ" in bar_labels(figure)[0]
    drawn(
        shared.rate_distortion_path({"other": constant})
    )  # one noise throughout is no reason to warn


@pytest.mark.parametrize("background", [False, True])
def test_inference_process(background, rng, state):
    frames, a, z = rng.uniform(size=(T, 16)), rng.normal(size=(N, T, 2)), rng.normal(size=(N, T, 3))
    a_var, z_var = rng.uniform(0.01, 0.1, (T, 2)), rng.uniform(0.01, 0.1, (T, 3))
    clouds = (a, z, state) if background else ()
    figure = drawn(
        ch09_extended_kalman_vae.inference_process(
            frames, a[0], a_var, z[0], z_var, state[0], *clouds, dt=0.5
        )
    )
    strip, plane, space, a_time, z_time = plots(figure)
    assert np.allclose([image.get_array() for image in strip.images], frames.reshape(T, 4, 4))
    assert np.allclose(scatter(plane), a[0]) and np.allclose(scatter(space), z[0])
    if background:
        assert np.allclose(scatter(plane, 0), a.reshape(-1, 2)) and np.allclose(
            scatter(space, 0), z.reshape(-1, 3)
        )
    widths = [patch.get_width() for patch in plane.patches]
    assert np.allclose(widths, 4 * np.sqrt(a_var[:, 0])) and np.allclose(
        [p.get_center() for p in plane.patches], a[0]
    )
    for axis, mean, var in ((a_time, a[0], a_var), (z_time, z[0], z_var)):
        assert np.allclose([line.get_ydata() for line in axis.lines], mean.T)
        for band, m, v in zip(axis.collections, mean.T, var.T):
            assert np.isclose(band.get_paths()[0].vertices[:, 1].max(), (m + 2 * np.sqrt(v)).max())
        assert axis.get_xlabel() == "time (s)" and axis.get_ylabel()


def test_results_table_figure():
    rows = [
        {"run": run, "seed": s, "r2_velocity": 0.1 * s, "mse_open_loop": 0.01 * (s + 1)}
        for run in ("a", "b")
        for s in range(3)
    ]
    figure = drawn(study.results_table_figure(rows))
    velocity, error = plots(figure)
    assert np.allclose(velocity.lines[0].get_xdata(), [0, 0.1, 0.2]) and np.allclose(
        velocity.lines[1].get_xdata(), 0.1
    )
    assert error.get_xscale() == "log" and [
        text.get_text() for text in velocity.get_yticklabels()
    ] == ["a", "b"]
    assert all(axis.get_xlabel() for axis in (velocity, error))


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "make, letters", [(graphs.graphical_model_dssm, "uzx"), (graphs.graphical_model_ekvae, "uzax")]
)
def test_graphical_models(make, letters, inference):
    figure = drawn(make(inference))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {
        f"${letter}_{{{index}}}$" for letter in letters for index in ("t-1", "t", "t+1")
    } <= texts


def test_frames_seen_shows_what_the_model_says_after_each_frame(rng):
    observed, predicted = rng.uniform(size=(T, 16)), rng.uniform(size=(3, T, 16))
    animation = ch09_extended_kalman_vae.frames_seen(observed, predicted, [1, 2, 4], dt=0.5)
    animation._draw_frame(2)
    upper, lower, curve = animation._fig.axes
    assert np.allclose([image.get_array() for image in upper.images], observed.reshape(T, 4, 4))
    assert np.allclose([image.get_array() for image in lower.images], predicted[2].reshape(T, 4, 4))
    assert np.allclose(curve.lines[0].get_ydata(), ((predicted[2] - observed) ** 2).mean(1))
    assert (
        np.allclose(curve.lines[0].get_xdata(), 0.5 * np.arange(T))
        and curve.get_xlabel() == "time (s)"
    )
    assert "seen: 4 frames" in animation._fig.texts[0].get_text()
    html = style.player(animation, "a text")
    assert (
        'alt="a text"' in html
        and "http" not in html.replace("http://www.w3.org", "")
        and len(html) < 2e6
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A run of four steps, on real data."""
    folder = tmp_path_factory.mktemp("run")
    experiments.run(experiments.get("ekvae-constrained", steps=4), folder, "cpu", progress=False)
    return folder


def test_save_all_writes_images_and_alternative_texts(tiny, tmp_path, capsys):
    assert main(["figures", str(tiny), "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out.split()
    alt = json.loads((tmp_path / "new" / runs.ALT).read_text())
    images = sorted((tmp_path / "new").glob("*.png"))
    assert sorted(printed) == [str(path) for path in images] and len(images) == len(alt) == 8
    assert set(alt) == {path.name for path in images} and all(
        len(text) > 40 for text in alt.values()
    )
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in images)
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".png", ".json"}


def test_sequences_are_chosen_by_rank():
    assert runs.ranked(torch.tensor([3.0, 1.0, 2.0, 9.0])) == {"best": 1, "typical": 2, "worst": 3}
    assert runs.ranked(torch.tensor([5.0])) == {"best": 0, "typical": 0, "worst": 0}


def test_save_all_says_what_is_wrong(tiny, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(runs, "draw_all", lambda run: {"one": (Figure(), "a figure")})
    assert main(["figures", str(tiny), "--out", str(tmp_path / "file" / "sub")]) == 1
    assert "cannot write" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["figures", str(tmp_path / "nothing"), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.glob("*.png"))


def test_training_record_of_a_run_and_of_nothing(tiny, tmp_path, monkeypatch):
    record = experiments.load_training_record(tiny)
    assert (
        record.history.shape == (1, 1 + len(METRICS))
        and record.snapshots.shape[0] == len(record.snapshot_steps) == 2
    )
    with pytest.raises(ValueError, match="no such file"):
        experiments.load_training_record(tmp_path)
    monkeypatch.setattr(experiments, "PRETRAINED", tmp_path)
    files.write_tensors(tmp_path / "some-history.safetensors", record._asdict(), {})
    assert torch.equal(experiments.load_training_record("some").history, record.history)
    files.write_tensors(tmp_path / "some-history.safetensors", {"history": record.history}, {})
    with pytest.raises(ValueError, match="no snapshots"):
        experiments.load_training_record("some")


@pytest.mark.parametrize(
    "value, text",
    [(0.002, "0.002"), (50, "50"), (2e-5, "$2·10^{-5}$"), (1e-6, "$10^{-6}$"), (1e4, "$10^{4}$")],
)
def test_numbers_on_logarithmic_axes(value, text):
    assert style.plain_number(value) == text


def test_scaling_shows_every_time_that_was_measured():
    rows = [
        {"model": m, "varied": "T", "T": t, "step_ms": k * t}
        for m, k in (("ekvae", 1.0), ("dks", 2.0))
        for t in (5, 10)
    ]
    axis = study.scaling(rows).axes[0]
    assert {line.get_label(): list(line.get_ydata()) for line in axis.lines} == {
        "ekvae": [5, 10],
        "dks": [10, 20],
    }
    assert "ms" in axis.get_ylabel() and "T" in axis.get_xlabel()
