"""The contract as functions: each ``check_*`` raises AssertionError where a model breaks it, and
skips with the reason where it does not apply.

Models are small enough to enumerate: at most 512 images exist, so sums over all of them are exact
and frequencies of samples can be compared with probabilities. ``test_contract.py`` runs the checks
on every model found, ``test_contract_catches.py`` on models that are broken on purpose.
"""

from __future__ import annotations

from tests.contract.arguments import check_bad_input
from tests.contract.autoregressive import check_cached, check_causality
from tests.contract.cases import CLASSES, Case, cases
from tests.contract.completion import check_inpaintable, check_traceable
from tests.contract.conditioning import check_labels_matter
from tests.contract.images import (
    data_for,
    each_label,
    every_image,
    frequencies,
    index,
    labels_of,
    rng,
    toy_data,
)
from tests.contract.latent_space import check_diagnosed, check_encoder, check_latent
from tests.contract.likelihood import (
    EXHAUSTIVE,
    Scores,
    check_mass,
    check_more_draws_tighten,
    log_likelihood_of,
    scores,
)
from tests.contract.randomness import (
    check_batch_mates,
    check_depends_on_rng,
    check_no_hidden_state,
    check_seeded,
)
from tests.contract.sampling import (
    DRAWS,
    assert_images,
    check_sample_form,
    check_samples,
    sampling_noise,
    total_variation,
)
from tests.contract.saved_weights import check_checkpoint
from tests.contract.training import check_phases, check_training_improves_score, start, train

__all__ = [
    "CLASSES",
    "DRAWS",
    "EXHAUSTIVE",
    "Case",
    "Scores",
    "assert_images",
    "cases",
    "check_bad_input",
    "check_batch_mates",
    "check_cached",
    "check_causality",
    "check_checkpoint",
    "check_depends_on_rng",
    "check_diagnosed",
    "check_encoder",
    "check_inpaintable",
    "check_labels_matter",
    "check_latent",
    "check_mass",
    "check_more_draws_tighten",
    "check_no_hidden_state",
    "check_phases",
    "check_sample_form",
    "check_samples",
    "check_seeded",
    "check_traceable",
    "check_training_improves_score",
    "data_for",
    "each_label",
    "every_image",
    "frequencies",
    "index",
    "labels_of",
    "log_likelihood_of",
    "rng",
    "sampling_noise",
    "scores",
    "start",
    "total_variation",
    "toy_data",
    "train",
]
