"""Settings for all tests: one thread a process (two processes run), and property tests that are the
same every time.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # a progress bar is then as wide as its text, also in a worker

import matplotlib
import pytest
import torch
from hypothesis import settings

matplotlib.use("Agg")
torch.set_num_threads(1)
settings.register_profile("book", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("book")

# Tests of some seconds, which `make unit-fast` leaves out as it does those marked in their files.
SLOW = {
    "closed_form/test_linear_posteriors.py::test_best_conditionals_are_the_best",
    "evaluation/test_information.py::test_the_shipped_table_says_what_the_shipped_weights_do",
    "experiments/test_every_run.py::test_a_run_that_was_stopped_ends_as_one_that_was_not",
    "experiments/test_every_run.py::test_a_training_step_of_every_run_on_the_meta_device",
    "experiments/test_every_run.py::test_every_run_can_be_evaluated_or_says_why_not",
    "experiments/test_full_preset.py::test_two_steps_on_the_cpu",
    "experiments/test_runs.py::test_a_fresh_process",
    "experiments/test_runs.py::test_shipped_weights_give_their_row_of_the_table",
    "experiments/test_study.py::test_a_study_of_two_runs",
    "experiments/test_study.py::test_an_interrupted_study_goes_on_from_the_checkpoint",
    "experiments/test_study.py::test_the_command_line",
    "figures/test_ch06.py::test_walk_shows_the_draw_its_price_and_is_small",
    "figures/test_latent.py::test_latent_space_shows_every_state_with_its_angle_and_velocity",
    "figures/test_runs.py::test_a_model_without_auxiliary_variables_has_no_figure_of_them",
    "figures/test_runs.py::test_save_all_writes_images_and_alternative_texts",
    "learning/test_training.py::test_a_folder_with_another_run_is_refused",
    "learning/test_training.py::test_a_step_lowers_the_loss",
    "learning/test_training.py::test_a_step_stays_on_the_device",
    "learning/test_training.py::test_ctrl_c_at_any_moment",
    "models/test_every_model.py::test_everything_runs_on_the_meta_device",
    "models/test_every_model.py::test_training_on_gaps_lowers_the_loss",
    "probability/test_kalman.py::test_gradients",
    "test_extending.py::test_it_is_trained_and_evaluated",
    "test_extending.py::test_what_is_registered_outside_is_listed",
    "test_extending.py::test_without_its_module_the_run_is_refused_in_words",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.partition("[")[0].removeprefix("tests/") in SLOW:
            item.add_marker("slow")
