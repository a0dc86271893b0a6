"""The interface, for every registered model: what it takes, what it gives, what it refuses, missing
frames, other types and devices. A new model is tested here by being registered.
"""

import copy
import math
from pathlib import Path

import pytest
import torch

from instances import MASK, bump, generator, hide, make, normal
from meta_device import OnTheDevice
from tutorial_dssm import models
from tutorial_dssm.learning.objectives import BalancedConfig, ConstrainedConfig, make_objective
from tutorial_dssm.learning.training import Run, TrainingConfig
from tutorial_dssm.models import MODELS, Model, SequentialModel, blank_missing

# and settings that are other models: more draws of ζ, a learned p(z_1)
VARIANTS = {"vhp-samples": ("vhp", {"samples": 3}), "ekvae-vhp": ("ekvae", {"vhp": True})}
NAMES = [*MODELS, *VARIANTS]
EACH = pytest.mark.parametrize("name", NAMES)


def started(name):
    """A small float64 model, started from frames; what starts at zero is moved away from it."""
    name, settings = VARIANTS.get(name, (name, {}))
    model = make(name, **settings)
    model.initialise(normal(20, 6, 5))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(0.05 * normal(*p.shape, seed=i))
    return model


def kind(name):
    return MODELS[VARIANTS.get(name, (name, {}))[0]].model


def those(condition):
    return pytest.mark.parametrize("name", [n for n in NAMES if condition(kind(n))])


def can_miss(name):
    return "mask" not in kind(name).cannot


MASKED = pytest.mark.parametrize("name", list(filter(can_miss, NAMES)))
PREDICTING = those(lambda m: "predict" not in m.cannot)


def data(B=4, T=6):
    return normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)


def log_prior(model, z, u, seed=0):
    """With the generator where the prior draws latents of its own."""
    model.noise, drawn = lambda like, *shape, generator: normal(*shape, seed=seed), model.noise
    try:
        return model.log_prior(z, u)
    finally:
        model.noise = drawn


# --- what it gives ------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("B, T", [(1, 1), (1, 5), (6, 1), (6, 2), (6, 5)])
def test_infer_terms_and_decode(name, B, T, dtype):
    model = started(name).to(dtype)
    x, u = (v.to(dtype) for v in data(B, T))
    posterior, terms = model.infer(x, u, generator()), model.terms(x, u, generator())
    for v in posterior:
        assert v.shape == (B, T, model.z_dim) and v.dtype == dtype and torch.isfinite(v).all()
    assert (posterior.var >= 0).all()
    for v in terms[:2]:
        assert v.shape == (B,) and v.dtype == dtype and torch.isfinite(v).all()
    assert (terms.squared_error > 0).all()
    image = model.decode(posterior.mean)
    assert image.shape == (B, T, 5) and image.dtype == dtype
    assert torch.allclose(model.decode(posterior.mean[0, -1]), image[0, -1], atol=1e-5)
    again = model.infer(x, u, generator(1))
    assert torch.equal(again.mean, posterior.mean), "the mean is not drawn"
    assert not torch.equal(again.sample, posterior.sample), "the sample is"


@EACH
def test_step_rates_are_there_where_the_model_says_so_and_sum_to_the_rate(name):
    model, (x, u) = started(name), data()
    terms = model.terms(x, u, generator())
    assert (terms.step_rates is not None) == model.has_step_rates
    for v in terms.step_rates or ():
        assert v.shape == (4, 6) and torch.allclose(v.sum(1), terms.rate)


@EACH
@pytest.mark.parametrize("T", [1, 4])
def test_gradients_reach_the_data_and_every_parameter(name, T):
    model, (x, u) = started(name), data(6, T)
    x.requires_grad_()
    u.requires_grad_()
    terms = model.terms(x, u, generator())
    (terms.squared_error.sum() + terms.rate.sum()).backward()
    assert torch.isfinite(x.grad).all() and (x.grad != 0).any(-1).all(), "every frame"
    if T > 1 and "predict" not in model.cannot:
        assert torch.isfinite(u.grad).all() and (u.grad[:, :-1] != 0).all(), "every control but one"
    for parameter, p in model.named_parameters():
        reached = p.grad is not None and (p.grad != 0).any()
        assert reached or T == 1, f"no gradient reaches {parameter}"
        assert p.grad is None or torch.isfinite(p.grad).all(), parameter


@PREDICTING
def test_predict(name):
    model, (_, u) = started(name), data()
    z1 = normal(4, model.z_dim, seed=13)
    path = model.predict(z1, u)
    assert path.shape == (4, 6, model.z_dim) and torch.equal(path[:, 0], z1)
    assert torch.equal(path, model.predict(z1, bump(u, 5))), "u_T acts after the last state"
    moved = (model.predict(z1, bump(u, 2)) != path).any(-1).any(0).tolist()
    assert moved == [False] * 3 + [True] * 3, "u_3 acts from z_4 on"
    drawn = [model.predict(z1, u, sample=True, generator=generator(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert model.predict(z1[:1], u[:1, :1]).shape == (1, 1, model.z_dim)
    z1.requires_grad_()
    (gradient,) = torch.autograd.grad(model.predict(z1, u)[:, -1].square().sum(), z1)
    assert torch.isfinite(gradient).all() and (gradient != 0).any()
    for bad_z1, bad_u in (
        (z1[0], u),
        (z1[:, :-1], u),
        (z1, u[:3]),
        (z1, u[:, :0]),
        (z1, u[..., 0]),
    ):
        with pytest.raises(ValueError, match="must be"):
            model.predict(bad_z1, bad_u)


@those(lambda m: "transition" not in m.cannot)
def test_predict_follows_the_transition_and_its_draws_have_its_moments(name):
    model, N = started(name), 4000
    _, u = data(1, 3)
    z1 = normal(1, model.z_dim, seed=13)
    with torch.no_grad():
        path = model.predict(z1, u)
        mean, var = model.transition(path[:, :-1], u[:, :-1])
        assert mean.shape == var.shape == (1, 2, model.z_dim) and (var >= 0).all()
        assert torch.allclose(mean, path[:, 1:], atol=1e-12)
        many = model.predict(z1.expand(N, -1), u.expand(N, 3, 1), True, generator())
        mean, var = model.transition(many[:, 1], u[0, 1].expand(N, 1))
    error = many[:, 2] - mean
    assert (error.mean(0).abs() <= 4.5 * (var.mean(0) / N).sqrt() + 1e-12).all()
    assert ((error**2).mean(0) <= (1 + 4.5 * (2 / N) ** 0.5) * var.mean(0) + 1e-12).all()


@those(lambda m: "log_prior" not in m.cannot)
def test_log_prior_is_a_product_over_steps(name):
    """What z_3 adds to a path is what it adds to the path that starts at z_2."""
    model, (_, u) = started(name), data()
    z = normal(4, 6, model.z_dim, seed=13)
    with torch.no_grad():
        whole = log_prior(model, z[:, :3], u[:, :3]) - log_prior(model, z[:, :2], u[:, :2])
        late = log_prior(model, z[:, 1:3], u[:, 1:3]) - log_prior(model, z[:, 1:2], u[:, 1:2])
    assert whole.shape == (4,) and torch.isfinite(whole).all()
    if name != "vhp" and name != "vhp-samples":  # they draw other ζ for another number of frames
        assert torch.allclose(whole, late, atol=1e-9)


@EACH
def test_auxiliary_variables_are_those_of_each_frame_alone(name):
    model, (x, _) = started(name), data()
    found = model.auxiliary(x)
    if found is not None:
        mean, var = found
        assert mean.shape == var.shape == (4, 6, model.config.a_dim) and (var > 0).all()
        moved = (model.auxiliary(bump(x, 2))[0] != mean).any(-1).any(0)
        assert moved.tolist() == [t == 2 for t in range(6)]
        with torch.no_grad():
            assert torch.allclose(model.decoder(mean), model.decode(pad(mean, model.z_dim)))


def pad(a, n):
    return torch.nn.functional.pad(a, (0, n - a.shape[-1]))


# --- what it refuses ----------------------------------------------------------------------------


@EACH
def test_what_a_model_cannot_it_says_in_words(name):
    model, (x, u) = started(name), data()
    z = torch.zeros(4, 6, model.z_dim, dtype=x.dtype)
    calls = {
        "predict": lambda: model.predict(z[:, 0], u),
        "transition": lambda: model.transition(z, u),
        "log_prior": lambda: model.log_prior(z, u),
        "mask": lambda: (model.infer(x, u, mask=MASK), model.terms(x, u, mask=MASK)),
        "log_weights": lambda: model.terms(x, u, analytic=False),
    }
    assert set(model.cannot) <= set(calls)
    for what, call in calls.items():
        if what in model.cannot:
            assert len(model.cannot[what].split()) > 5
            with pytest.raises(ValueError) as caught:
                call()
            assert model.cannot[what] in str(caught.value)
        else:
            call()
    assert isinstance(model, SequentialModel) == ("predict" not in model.cannot)


@those(lambda m: m.compile_step is Model.compile_step)
def test_a_model_without_an_inner_step_says_so(name):
    with pytest.raises(ValueError, match="no inner step"):
        started(name).compile_step()


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Model(5, 1, 3)
    with pytest.raises(TypeError, match="abstract"):
        SequentialModel(5, 1, 3)


BAD = {
    "rank of x": (lambda x, u: (x[0], u), "x must be"),
    "size of x": (lambda x, u: (x[..., :4], u), "x must be"),
    "T = 0": (lambda x, u: (x[:, :0], u[:, :0]), "T >= 1"),
    "controls of another batch": (lambda x, u: (x, u[:1]), "u must be"),
    "rank of u": (lambda x, u: (x, u[..., 0]), "u must be"),
    "controls of another length": (lambda x, u: (x, u[:, :3]), "u must be"),
    "NaN frame": (lambda x, u: (x.masked_fill(x == x[0, 1, 2], math.nan), u), "finite"),
    "infinite control": (lambda x, u: (x, u.masked_fill(u == u[0, 1, 0], math.inf)), "finite"),
}


@EACH
@pytest.mark.parametrize("what", BAD)
def test_the_door(name, what):
    model, (change, message) = started(name), BAD[what]
    x, u = change(*data())
    for method in (model.infer, model.terms):
        with pytest.raises(ValueError, match=message):
            method(x, u, generator())


@MASKED
def test_the_door_for_masks(name):
    model, (x, u) = started(name), data()
    everything = torch.ones(4, 6, dtype=torch.bool)
    for method in (model.infer, model.terms):
        for mask in (everything[:, :3], everything.double(), everything[:3], everything[0]):
            with pytest.raises(ValueError, match="mask must be"):
                method(x, u, generator(), mask=mask)
        with pytest.raises(ValueError, match="finite"):  # it excuses missing frames only
            method(x.masked_fill(x == x[0, 0, 2], math.nan), u, generator(), mask=MASK)


# --- missing frames -----------------------------------------------------------------------------


def answers(model, x, u, mask):
    """Everything that infer and terms say, and the gradient of terms by x, u and parameters."""
    x, u = x.clone().requires_grad_(), u.clone().requires_grad_()
    terms = model.terms(x, u, generator(), mask=mask)
    wanted = [x, u, *model.parameters()]
    loss = terms.squared_error.sum() + terms.rate.sum()
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        return [*model.infer(x, u, generator(), mask=mask), *terms[:2], *gradients]


@MASKED
def test_what_is_missing_does_not_count(name):
    """NaN, zeros or other frames: the same answers, and no gradient to what is missing."""
    model, (x, u) = started(name), data()
    reference = answers(model, hide(x, MASK), u, MASK)
    assert all(torch.isfinite(v).all() for v in reference)
    assert (reference[5][~MASK] == 0).all(), "the gradient by x"
    for other in (hide(x, MASK, 0.0), x, hide(x, MASK, 1e6), hide(x, MASK, math.inf)):
        assert all(torch.equal(a, b) for a, b in zip(reference, answers(model, other, u, MASK)))


@MASKED
def test_a_mask_of_true_is_none(name):
    model, (x, u) = started(name), data()
    everything = torch.ones(4, 6, dtype=torch.bool)
    for a, b in zip(answers(model, x, u, None), answers(model, x, u, everything)):
        assert torch.equal(a, b)


@MASKED
def test_a_whole_sequence_does_not_know_that_others_have_gaps(name):
    """And what is missing in one changes what is inferred there."""
    model, (x, u) = started(name).double(), data()
    whole, gappy = model.infer(x, u, generator()), model.infer(x, u, generator(), mask=MASK)
    assert MASK[2].all()
    for a, b in zip(whole, gappy):
        assert torch.allclose(a[2], b[2], atol=1e-9)
    assert (whole.mean[0, 2] != gappy.mean[0, 2]).any()
    terms = model.terms(x, u, generator()), model.terms(x, u, generator(), mask=MASK)
    for a, b in zip(*(t[:2] for t in terms)):
        assert torch.allclose(a[2], b[2], atol=1e-9)


@MASKED
def test_squared_error_is_that_of_the_observed_frames(name):
    """The same weights and draws, one frame fewer: less error, and none where nothing is seen."""
    model, (x, u) = started(name), data()
    terms = model.terms(x, u, generator(), mask=MASK)
    assert terms.squared_error[3] == 0 and not MASK[3].any()
    assert (terms.squared_error[:3] > 0).all()


@MASKED
@pytest.mark.parametrize("T", [1, 2])
def test_short_sequences_may_miss_frames_too(name, T):
    model, (x, u) = started(name), data(4, T)
    mask = MASK[:, 1 : T + 1]
    for v in answers(model, hide(x, mask), u, mask):
        assert torch.isfinite(v).all()


@pytest.mark.slow
@MASKED
def test_training_on_gaps_lowers_the_loss(name):
    """Fifty steps of Adam on frames of which a third are missing."""
    model, (x, u) = started(name).float(), (v.float() for v in data(8, 6))
    mask = torch.rand(8, 6, generator=generator()) > 0.33
    x = hide(0.3 * x, mask)
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(50):
        terms = model.terms(x, u, generator(), mask=mask)
        loss = (terms.squared_error / 0.02 + terms.rate).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_blank_missing():
    x = normal(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    assert blank_missing(x, None) is x
    blank = blank_missing(hide(x, mask), mask)
    assert torch.equal(blank[mask], x[mask]) and (blank[~mask] == 0).all()
    entries = normal(2, 3, 4, seed=1) > 0
    blank = blank_missing(x.masked_fill(~entries, math.nan), entries)
    assert torch.equal(blank[entries], x[entries]) and (blank[~entries] == 0).all()


# --- where it lives -----------------------------------------------------------------------------


@EACH
def test_randomness_comes_from_the_generator_alone(name):
    model, (x, u) = started(name), data()
    before = torch.get_rng_state()

    def draws(seed):
        g = generator(seed)
        found = [model.infer(x, u, g).sample, model.terms(x, u, g).squared_error]
        if can_miss(name):
            found.append(model.infer(x, u, g, mask=MASK).sample)
        if "predict" not in model.cannot:
            found.append(model.predict(found[0][:, 0], u, sample=True, generator=g))
        return found

    first, again, other = draws(1), draws(1), draws(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not any(torch.equal(a, b) for a, b in zip(first, other))
    assert torch.equal(before, torch.get_rng_state()), "the global random state was used"


@pytest.mark.parametrize(
    "name, masked", [(n, m) for n in NAMES for m in (False, True) if not m or can_miss(n)]
)
def test_a_sequence_does_not_know_its_batch(name, masked):
    model, (x, u) = started(name), data()
    fixed, order, results = normal(4, 4000, seed=9), torch.tensor([3, 0, 2]), []
    for rows in (torch.arange(4), order):
        model.noise = lambda like, *shape, generator, rows=rows: fixed[
            rows, : math.prod(shape[1:])
        ].view(shape)
        mask = MASK[rows] if masked else None
        terms = model.terms(x[rows], u[rows], mask=mask)
        results.append([*terms[:2], *model.infer(x[rows], u[rows], mask=mask)])
    assert all(torch.allclose(a[order], b, rtol=0, atol=1e-9) for a, b in zip(*results))


@EACH
def test_a_copy_behaves_the_same(name):
    """Nothing of a model lives outside its parameters and buffers."""
    model, (x, u) = started(name), data()
    own_name, settings = VARIANTS.get(name, (name, {}))
    other = make(own_name, seed=7, **settings)
    other.load_state_dict(model.state_dict())
    mask = MASK if can_miss(name) else None
    for twin in (other, copy.deepcopy(model)):
        ours, theirs = (
            [*m.terms(x, u, generator(), mask=mask)[:2], *m.infer(x, u, generator(), mask=mask)]
            for m in (model, twin)
        )
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("T", [1, 5])
def test_everything_runs_on_the_meta_device(name, T):
    """No tensor has values there: what is left on the CPU, and every `.item()`, raises."""
    objectives = [ConstrainedConfig()]
    if kind(name).has_step_rates:
        objectives.append(BalancedConfig(free_nats=0.1))
    x, u = torch.empty(8, T, 5, device="meta"), torch.empty(8, T, 1, device="meta")
    mask = torch.ones(8, T, dtype=torch.bool, device="meta") if can_miss(name) else None
    for objective in map(make_objective, objectives):
        run = Run(started(name).float(), objective, TrainingConfig(), 0, torch.device("meta"))
        run.optimizer.step = lambda: None  # Adam counts its steps on the host, by design of PyTorch
        model = run.model
        with OnTheDevice():
            report = run.train_step(x, u, None)
            terms = model.terms(x, u, mask=mask)
            objective(terms, 5 * T).loss.backward()
            z = model.infer(x, u, mask=mask).mean
            model.decode(z)
            if "predict" not in model.cannot:
                model.predict(z[:, 0], u, sample=True)
            if "log_prior" not in model.cannot:
                model.log_prior(z, u)
        assert all(v.is_meta and v.shape == () for v in report)
        assert all(p.grad is None or p.grad.is_meta for p in model.parameters())


# --- the registry -------------------------------------------------------------------------------


def test_the_registry_holds_the_models_in_the_order_of_the_tables():
    assert [n for n in MODELS if "-" not in n] == (
        ["vae", "vhp", "lgssm", "e2c", "dkf", "dks", "dvbf", "kvae", "rssm", "ekvae"]
    )
    with pytest.raises(ValueError, match="did you mean 'ekvae'"):
        MODELS["ekva"]


@pytest.mark.parametrize(
    "path", sorted(Path(models.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_a_model_can_be_read_in_one_sitting(path):
    limit = 250 if path.stem == "base" else 200
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit
