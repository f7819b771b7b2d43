"""The training loss: each variant adds what its formula says, and nothing when it is off."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamae.model.architecture import Kind
from streamae.model.encoder_decoder import EncoderDecoder
from streamae.model.networks import trained_network
from streamae.settings.training import TrainSettings
from streamae.settings.tree import Settings
from streamae.training.objective import Objective, losses
from streamae.training.run import train
from tests.model.models import KINDS, QUICK, architecture, changed, sines


def network(kind: Kind = "dense", bottleneck_size: int = 4) -> EncoderDecoder:
    """Return a seeded network of three features and windows of twelve rows."""
    torch.manual_seed(0)
    return trained_network(architecture(kind, bottleneck_size=bottleneck_size))


def windows(count: int = 10) -> Tensor:
    """Return seeded scaled windows."""
    return torch.randn(count, 12, 3, generator=torch.Generator().manual_seed(1))


def number(of: Tensor) -> float:
    """Return the value of a tensor without shape."""
    return float(of.detach())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bottleneck_size", [0, 4])
def test_a_plain_objective_is_the_loss_and_draws_no_numbers(kind: Kind, bottleneck_size: int) -> None:
    """Variants that are off change nothing, not even the random numbers of dropout."""
    objective = Objective(network(kind, bottleneck_size), TrainSettings())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    total, loss = objective(windows())
    assert torch.equal(torch.rand(1), expected)
    torch.testing.assert_close(total, loss, rtol=0, atol=0)
    torch.testing.assert_close(loss, losses(objective.network, windows()))


def test_sparsity_is_the_mean_size_of_the_code() -> None:
    """The penalty is on the code, not on weights or hidden units."""
    objective = Objective(network(), TrainSettings(sparsity=0.5))
    total, loss = objective(windows())
    code, _ = objective.network.encode(windows())
    assert number(total - loss) == pytest.approx(0.5 * number(code.abs().mean()), rel=1e-4)


def test_the_variational_penalty_is_the_distance_of_two_normal_distributions() -> None:
    """The closed form equals torch's own divergence from the standard normal distribution."""
    objective = Objective(network(), TrainSettings(variational_weight=0.7))
    total, loss = objective(windows())
    assert objective.log_variance is not None
    summary, _ = objective.network.summarise(windows(), 1)
    sd = (0.5 * objective.log_variance(summary)).exp()
    q = torch.distributions.Normal(objective.network.code_of(summary), sd)
    distance = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean()
    assert number(total - loss) == pytest.approx(0.7 * 2.0 * number(distance) / 36, rel=1e-3)


def test_a_variational_decoder_gets_samples_in_training_only() -> None:
    """Two steps see different codes; serving is the mean, the same each time."""
    objective = Objective(network(), TrainSettings(variational_weight=0.7))
    losses_found = [number(objective(windows())[1]) for _ in range(2)]
    assert losses_found[0] != losses_found[1]
    assert torch.equal(objective.network(windows(), 12)[0], objective.network(windows(), 12)[0])


def test_hidden_and_noisy_inputs_have_clean_targets() -> None:
    """What the network sees is spoilt as asked; what it is compared with is not."""
    seen: list[Tensor] = []
    z = torch.ones(400, 12, 3)
    of = network()

    def remembered(_: object, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0])

    of.encoder.get_submodule("0").register_forward_pre_hook(remembered)  # type: ignore[union-attr]  # a module list
    torch.manual_seed(0)
    _, loss = Objective(of, TrainSettings(noise_sd=0.5))(z)
    Objective(of, TrainSettings(mask_share=0.25))(z)
    noise = (seen[0] - 1.0).std()
    assert number(noise) == pytest.approx(0.5, rel=0.03)
    assert sorted(set(seen[1].flatten().tolist())) == [0.0, 1.0]
    assert number((seen[1] == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    with torch.no_grad():
        summary, forecasts = of.summarise(seen[0].view_as(z), 8)
        rows = of.decode(of.code_of(summary), 12)
    clean = (rows - z).square().mean() + (forecasts - z[:, -forecasts.shape[1] :]).square().mean()
    assert number(loss) == pytest.approx(number(clean), rel=0.05)  # noise in the target would add about 0.5


def test_trimming_leaves_the_worst_windows_out() -> None:
    """A tenth of wild windows moves neither the loss nor a gradient; without trimming it rules both."""
    of, z = network(), windows(20)
    wild = z.clone()
    wild[[3, 11]] += 1_000.0
    _, trimmed = Objective(of, TrainSettings(trim_share=0.1))(wild)
    rest = torch.cat([z[:3], z[4:11], z[12:]])
    torch.testing.assert_close(trimmed, losses(of, rest))
    assert number(losses(of, wild)) > 1_000 * number(trimmed)
    _, nearly_all = Objective(of, TrainSettings(trim_share=0.99))(z[:3])
    assert number(nearly_all) == pytest.approx(min(number(losses(of, z[i : i + 1])) for i in range(3)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_trains_every_kind(kind: Kind) -> None:
    """All at once: finite, better than the mean, reproducible, and the bundle holds the network's weights alone."""
    options = changed(
        QUICK, kind=kind, bottleneck_size=6, variational_weight=0.01, noise_sd=0.1, mask_share=0.05, sparsity=1e-3
    )
    options = changed(options, trim_share=0.1, max_steps=60)
    found = train([sines()], options)
    assert found.weights.keys() == found.architecture.shapes().keys()
    assert found.metrics["validation_loss"] < 0.8 * found.metrics["validation_loss_of_mean"]
    assert (found.options["noise_sd"], found.architecture.bottleneck_size) == (0.1, 6)
    short = changed(options, max_steps=5)
    assert train([sines()], short).version == train([sines()], short).version


def test_a_variational_recurrent_network_needs_a_bottleneck() -> None:
    """A hidden state between -1 and 1 cannot follow a normal distribution; the message names both settings."""
    with pytest.raises(ValueError, match=r"train\.variational_weight: needs train\.bottleneck_size"):
        Settings(train=TrainSettings(variational_weight=0.1))
    assert Settings(train=TrainSettings(variational_weight=0.1, bottleneck_size=8)).train.bottleneck_size == 8
    assert Settings(train=TrainSettings(variational_weight=0.1, kind="dense")).train.kind == "dense"
