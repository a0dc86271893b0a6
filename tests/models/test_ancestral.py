"""The ancestral pass: its draw and its divergences are those of the model's terms."""

import pytest
import torch

from tutorial_dssm.evaluation.ancestral import ancestral_pass
from tutorial_dssm.models.dkf import DKF, DKFConfig
from tutorial_dssm.models.dks import DKS, DKSConfig
from tutorial_dssm.models.dvbf import DVBF, DVBFConfig
from tutorial_dssm.models.dvbs import DVBS, DVBSConfig
from tutorial_dssm.models.rssm import RSSM, RSSMConfig

KINDS = {
    "dkf": (DKF, DKFConfig),
    "dks": (DKS, DKSConfig),
    "dvbf": (DVBF, DVBFConfig),
    "dvbs": (DVBS, DVBSConfig),
}


def seeded():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("kind", list(KINDS))
def test_pass_agrees_with_terms_and_infer(kind, T):
    model_class, config = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config(x_dim=5, hidden=8, bases=3, mix_hidden=8)).double()
        x, u = torch.randn(4, T, 5).double(), torch.randn(4, T, 1).double()
    walk = ancestral_pass(model, x, u, seeded())
    terms = model.terms(x, u, seeded())
    assert torch.allclose(walk.kl().sum(1), terms.rate, atol=1e-10)
    assert torch.allclose(
        ((model.decode(walk.z) - x) ** 2).sum((1, 2)), terms.squared_error, atol=1e-10
    )
    still = ancestral_pass(model, x, u, seeded(), sample=False)
    posterior = model.infer(x, u, seeded())
    assert torch.allclose(still.mean, posterior.mean, atol=1e-10) and torch.allclose(
        still.z, posterior.mean, atol=1e-10
    )
    assert torch.allclose(still.var, posterior.var, atol=1e-10) and torch.allclose(
        walk.z, posterior.sample, atol=1e-10
    )


def test_the_door():
    model = DKS(DKSConfig(x_dim=5, hidden=8))
    with pytest.raises(ValueError, match="x must be"):
        ancestral_pass(model, torch.zeros(2, 3, 4), torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="got RSSM"):
        ancestral_pass(RSSM(RSSMConfig(x_dim=5)), torch.zeros(2, 3, 5), torch.zeros(2, 3, 1))
